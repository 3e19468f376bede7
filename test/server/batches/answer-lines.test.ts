import { join } from 'node:path'
import t from 'tap'
import { answerLines } from '../../../apps/server/src/batches/answer-lines.ts'
import { BatchResults } from '../../../apps/server/src/batches/batch-results.ts'
import { checkInput } from '../../../apps/server/src/batches/check-input.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import { aLineRunner } from '../../fakes/fake-line-runner.ts'

const PATH = '/v1/completions'
const nothing = (): void => {}

t.test('an answer that is being written when the work stops is written, and counted, before it has stopped', async t => {
  const ids = ['a', 'b', 'c', 'd']
  const folder = t.testdir({ 'in.jsonl': ids.map(id => JSON.stringify({ custom_id: id, method: 'POST', url: PATH, body: { prompt: id, max_tokens: 4 } })).join('\n') })
  const path = join(folder, 'in.jsonl')
  const { runner, generation } = aLineRunner()
  const stop = new AbortController()
  const { lines } = await checkInput(path, PATH, { maxLines: 10, maxLineBytes: 1000 })
  await using results = await BatchResults.open({ output: join(folder, 'out'), errors: join(folder, 'errors') }, lines.length)
  const add = results.add.bind(results)
  results.add = async (line, answer) => {
    // The others end now, while this one is on its way to the disk.
    stop.abort(new Error('stopped'))
    await new Promise(resolve => setImmediate(resolve))
    await add(line, answer)
  }
  const work = answerLines({ batchId: 'batch', endpoint: PATH, path, lines, results, runner, maxTokensTogether: 100, onAnswer: nothing }, stop)
  says('yes')(await generation.stream(3))
  await t.rejects(work, { message: 'stopped' })
  t.equal(results.tally.request_counts.completed, 1)
  t.ok(generation.streams.every(({ released }) => released))
})

t.test('no more requests are answered at a time than are asked for, and each that ends makes room for the next', async t => {
  const ids = Array.from({ length: 7 }, (_, i) => `${i}`)
  const folder = t.testdir({ 'in.jsonl': ids.map(id => JSON.stringify({ custom_id: id, method: 'POST', url: PATH, body: { prompt: id, max_tokens: 4 } })).join('\n') })
  const path = join(folder, 'in.jsonl')
  const { runner, generation } = aLineRunner({ maxConcurrency: 3 })
  const { lines } = await checkInput(path, PATH, { maxLines: 10, maxLineBytes: 1000 })
  await using results = await BatchResults.open({ output: join(folder, 'out'), errors: join(folder, 'errors') }, lines.length)
  const work = answerLines({ batchId: 'batch', endpoint: PATH, path, lines, results, runner, maxTokensTogether: 100, onAnswer: nothing }, new AbortController())
  for (const i of ids.keys()) {
    // The third waits for nobody, the fourth for the first to end.
    await generation.stream(Math.min(i + 2, ids.length - 1))
    for (let turn = 0; turn < 5; turn++) await new Promise(resolve => setImmediate(resolve))
    t.equal(generation.streams.length, Math.min(i + 3, ids.length))
    says('yes')(await generation.stream(i))
  }
  await work
  t.equal(results.tally.request_counts.completed, ids.length)
})
