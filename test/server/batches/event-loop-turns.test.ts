import { join } from 'node:path'
import t from 'tap'
import { answerLines } from '../../../apps/server/src/batches/answer-lines.ts'
import { BatchResults } from '../../../apps/server/src/batches/batch-results.ts'
import { checkInput } from '../../../apps/server/src/batches/check-input.ts'
import { inTurn } from '../../../apps/server/src/batches/event-loop-turns.ts'
import { inputLines } from '../../../apps/server/src/batches/input-lines.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import { aLineRunner } from '../../fakes/fake-line-runner.ts'

const PATH = '/v1/completions'
/** Longer than pieces may take together. */
const work = (): void => { for (const end = performance.now() + 1.5; performance.now() < end;); }

/** Counts the turns that others have. */
function othersTurns (): { readonly count: () => number, readonly [Symbol.dispose]: () => void } {
  let numTurns = 0
  let next = setImmediate(function turn () {
    numTurns++
    next = setImmediate(turn)
  })
  return { count: () => numTurns, [Symbol.dispose]: () => { clearImmediate(next) } }
}

t.test('pieces that come together are done one by one, in their order, and others have a turn after each long one', async t => {
  using others = othersTurns()
  const turns = await Promise.all([0, 1, 2, 3].map(async piece => await inTurn(() => {
    work()
    return { piece, before: others.count() }
  })))
  t.strictSame(turns.map(({ piece }) => piece), [0, 1, 2, 3])
  for (const [i, { before }] of turns.slice(1).entries()) t.ok(before > (turns[i]?.before ?? before), `turn before piece ${i + 1}`)
})

t.test('a piece that fails fails alone', async t => {
  const pieces = [0, 1, 2].map(async piece => await inTurn(() => {
    if (piece === 1) throw new Error('piece')
    return piece
  }))
  t.match(await Promise.allSettled(pieces), [{ value: 0 }, { reason: { message: 'piece' } }, { value: 2 }])
})

t.test('what a piece waits for keeps no other from beginning', async t => {
  let end = (): void => {}
  const first = inTurn(async () => { await new Promise<void>(resolve => { end = resolve }) })
  await inTurn(() => { end() })
  await first
  t.pass()
})

t.test('others have a turn between the lines of a file that take long, however many are read at once', async t => {
  const path = join(t.testdir({ 'in.jsonl': 'line\n'.repeat(30) }), 'in.jsonl')
  using others = othersTurns()
  const before: number[] = []
  for await (const { text } of inputLines(path, 100)) {
    t.equal(text, 'line')
    before.push(others.count())
    work()
  }
  t.equal(new Set(before).size, 30)
})

t.test('others have a turn between requests that begin together, as many as there are places', async t => {
  const numLines = 40
  const folder = t.testdir({ 'in.jsonl': Array.from({ length: numLines }, (_, i) => JSON.stringify({ custom_id: `${i}`, method: 'POST', url: PATH, body: { prompt: `this is ${i}`, max_tokens: 4 } })).join('\n') })
  const path = join(folder, 'in.jsonl')
  const begun: number[] = []
  using others = othersTurns()
  const { runner, generation } = aLineRunner({
    maxConcurrency: numLines,
    script: () => {
      begun.push(others.count())
      work()
    }
  })
  const { lines } = await checkInput(path, PATH, { maxLines: numLines, maxLineBytes: 1000 })
  await using results = await BatchResults.open({ output: join(folder, 'out'), errors: join(folder, 'errors') }, lines.length)
  const answered = answerLines({ batchId: 'batch', endpoint: PATH, path, lines, results, runner, maxTokensTogether: 10_000, onAnswer: () => {} }, new AbortController())
  await generation.stream(numLines - 1)
  t.equal(new Set(begun).size, numLines)
  for (const stream of generation.streams) says('yes')(stream)
  await answered
  t.equal(results.tally.request_counts.completed, numLines)
})
