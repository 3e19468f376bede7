import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { evalEngineConfig } from '../../apps/server/src/eval/engine-config.ts'
import { runEval } from '../../apps/server/src/eval/run-eval.ts'
import { startEngine } from '../../apps/server/src/generation/start-engine.ts'
import { openTextService } from '../../apps/server/src/text/index.ts'

t.setTimeout(300_000)

/** How many answers of each document transformers has right, teacher-forced in float32 (test/fixtures/record-transformers-eval.py). */
const Recording = z.object({
  seed: z.number(),
  tasks: z.record(z.string(), z.object({ answers: z.array(z.number()), correct: z.array(z.number()) }))
})
const directory = join(import.meta.dirname, '../../models/daybreak-mini')
const recording = Recording.parse(JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/recorded/daybreak-mini-eval.json'), 'utf8')))
const firstOf = (counts: readonly number[] | undefined, documents: number): number => (counts ?? []).slice(0, documents).reduce((sum, count) => sum + count, 0)

// Enough of arithmetic and string to meet answers that the model gets wrong: those must be wrong here too.
const documentsOf: Readonly<Record<string, number>> = { arithmetic: 60, string: 40, extract: 6, tool: 6, memory: 3, talk: 10, lines_1024: 1 }

t.test('the first documents of every quick task are answered exactly as transformers answers them', async t => {
  const engine = await startEngine({
    config: evalEngineConfig({ model: { type: 'directory', path: directory }, dtype: 'auto', adapter: undefined, maxModelLen: 2048, maxSequences: 16, prefixCaching: true }),
    onProgress: () => {}
  })
  const text = await openTextService(directory)
  try {
    let numWrong = 0
    for (const [task, samples] of Object.entries(documentsOf)) {
      const report = await runEval(engine, text, { tasks: [task], samples, seed: recording.seed, concurrency: 16, maxContext: 8192 })
      const [result] = report.tasks
      const expected = recording.tasks[task]
      t.equal(result?.answers, firstOf(expected?.answers, samples), `${task}: as many answers`)
      t.equal(result?.correct, firstOf(expected?.correct, samples), `${task}: as many of them right`)
      numWrong += (result?.answers ?? 0) - (result?.correct ?? 0)
    }
    t.ok(numWrong > 0, 'some of them are wrong, and counted so')
  } finally {
    await text.close()
    await engine[Symbol.asyncDispose]()
  }
})
