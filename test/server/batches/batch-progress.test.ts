import { Writable } from 'node:stream'
import t from 'tap'
import { batchProgress } from '../../../apps/server/src/batches/batch-progress.ts'
import type { BatchTally } from '../../../apps/server/src/batches/batch-results.ts'

const TOTAL = 20

/** So many answers of ten tokens each, to prompts of a hundred of which forty were shared. */
function tallyOf (completed: number, failed = 0): BatchTally {
  const [input, output] = [100 * completed, 10 * completed]
  return {
    request_counts: { total: TOTAL, completed, failed },
    usage: {
      input_tokens: input,
      input_tokens_details: { cached_tokens: 40 * completed },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: input + output
    }
  }
}

class Terminal extends Writable {
  readonly isTTY = true
  readonly columns = 120
  text = ''

  override _write (chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    done()
  }
}

t.test('where there is no terminal, a line for every tenth says how many, how fast, what was shared, and how long it will take', async t => {
  const lines: string[] = []
  let ms = 0
  const progress = batchProgress({ write: (text: string) => { lines.push(text) } }, tallyOf(0), () => ms)
  progress.start()
  for (let done = 1; done <= TOTAL; done++) {
    ms += 500
    progress.update(tallyOf(done))
  }
  t.equal(lines.length, 10)
  t.equal(lines[0], '2/20 20 tok/s, 40 % of prompt tokens shared, 9 s left\n')
  t.equal(lines[9], '20/20 20 tok/s, 40 % of prompt tokens shared\n')
  progress.end(tallyOf(TOTAL))
  t.equal(lines[10], '20 of 20 requests answered in 10 s: 20 tok/s, 40 % of prompt tokens shared\n')
})

t.test('what an earlier run has answered counts as done, and for no speed', async t => {
  const lines: string[] = []
  let ms = 0
  const progress = batchProgress({ write: (text: string) => { lines.push(text) } }, tallyOf(10), () => ms)
  progress.start()
  ms = 4_000
  progress.update(tallyOf(12))
  t.equal(lines[0], '12/20 5.0 tok/s, 40 % of prompt tokens shared, 16 s left\n')
  progress.end(tallyOf(12, 1))
  t.equal(lines[1], '12 of 20 requests answered, 1 failed, 7 left in 4 s: 5.0 tok/s, 40 % of prompt tokens shared\n')
})

t.test('on a terminal it is a bar that says the same, and goes away at the end', async t => {
  const terminal = new Terminal()
  let ms = 0
  const progress = batchProgress(terminal, tallyOf(0), () => ms)
  progress.start()
  ms = 2_000
  progress.update(tallyOf(4))
  progress.end(tallyOf(4))
  t.match(terminal.text, '0/20')
  t.match(terminal.text, '4 of 20 requests answered, 16 left in 2 s: 20 tok/s, 40 % of prompt tokens shared\n')
  t.ok(terminal.text.includes('█') || terminal.text.includes('░'))
})
