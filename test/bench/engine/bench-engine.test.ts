import t from 'tap'
import type { Engine } from '@daybreak/engine'
import { benchEngine } from '../../../apps/server/src/bench/engine/bench-engine.ts'
import type { EngineBenchReport } from '../../../apps/server/src/bench/engine/bench-engine.ts'
import { longestSequence } from '../../../apps/server/src/bench/engine/engine-bench-plan.ts'
import type { EngineBenchPlan } from '../../../apps/server/src/bench/engine/engine-bench-plan.ts'
import { CheckingRunner, LIMITS } from './checking-runner.ts'
import { engineReport } from './engine-report.ts'

const plan: EngineBenchPlan = { batches: [1, 4], contexts: [32], prompts: [100], decodeTokens: 10, prefillRepeats: 3, warmupSteps: 2, seed: 1 }

const engineOf = (runner: CheckingRunner): Engine => ({ runner, report: engineReport })

function bench (runner: CheckingRunner, changes: Partial<EngineBenchPlan> = {}, copyBandwidth?: number): Promise<EngineBenchReport> {
  return benchEngine(engineOf(runner), { ...plan, ...changes }, { copyBandwidth, now: runner.now, onProgress () {} })
}

t.test('decode is measured with two steps in flight and the tokens staying on the device', async t => {
  const runner = new CheckingRunner()
  const { decode } = await bench(runner, { prompts: [] }, 4e9)
  t.equal(runner.mostInFlight, 2)
  t.match(decode, [{ batch: 1, context: 32, skipped: undefined, numSteps: 10 }, { batch: 4, context: 32 }])
  const [one, four] = decode
  // A step takes 10 ms, 10 steps 100 ms; the weights have 20 MB.
  const near = (actual: number | undefined, expected: number, name: string): void => { t.ok(Math.abs((actual ?? 0) / expected - 1) < 1e-6, `${name}: ${actual}`) }
  near(one?.tokensPerSecond, 100, 'tokens/s of one')
  near(four?.tokensPerSecond, 400, 'tokens/s of four')
  near(four?.medianStepMs, 10, 'median step')
  near(four?.deviceStepMs, 10, 'device time')
  near(four?.hostStepMs, 1, 'host time')
  near(four?.weightBytesPerSecond, 2e9, 'weight bytes/s')
  near(four?.copyBandwidthShare, 0.5, 'share of the copy bandwidth')
  const decodeSteps = runner.batches.filter(({ sequences }) => sequences.every(({ tokens }) => tokens === undefined))
  t.equal(decodeSteps.length, 2 * (2 + 10), 'two batches, each with its warm-up')
  t.strictSame(decodeSteps.at(-1)?.sequences.map(({ startPosition }) => startPosition), [43, 43, 43, 43])
})

t.test('a process decodes for a while before the first decode that it measures, and not before the second', async t => {
  const runner = new CheckingRunner()
  const { decode } = await bench(runner, { prompts: [], wakeSeconds: 0.25 })
  t.match(decode, [{ batch: 1, numSteps: 10 }, { batch: 4, numSteps: 10 }])
  const decodeSteps = runner.batches.map(({ sequences }) => sequences).filter(sequences => sequences.every(({ tokens }) => tokens === undefined))
  // Rounds of ten steps of 10 ms, until a quarter of a second has passed.
  t.equal(decodeSteps.filter(sequences => sequences.length === 1).length, 3 * 10 + 2 + 10)
  t.equal(decodeSteps.filter(sequences => sequences.length === 4).length, 2 + 10)
  t.equal(decodeSteps[3 * 10]?.[0]?.startPosition, 32, 'and begins anew')
})

t.test('the median step is not moved by one slow one, the throughput is', async t => {
  let numDecoded = 0
  const runner = new CheckingRunner(LIMITS, ({ sequences }) => sequences[0]?.tokens === undefined && ++numDecoded === 8 ? 1 : 0.01)
  const [row] = (await bench(runner, { prompts: [], batches: [1] })).decode
  t.ok(Math.abs((row?.medianStepMs ?? 0) - 10) < 1e-6)
  t.ok((row?.p99StepMs ?? 0) > 900)
  t.ok(Math.abs((row?.tokensPerSecond ?? 0) - 10 / 1.09) < 1e-6)
})

t.test('a prompt longer than a step is prefilled in chunks, sampled once, at its end', async t => {
  const runner = new CheckingRunner(LIMITS, ({ sequences }) => 0.001 * (sequences[0]?.tokens?.length ?? 1))
  const { prefill } = await bench(runner, { batches: [], prompts: [100, 64] })
  t.match(prefill, [{ promptTokens: 100, skipped: undefined }, { promptTokens: 64, skipped: undefined }])
  for (const { tokensPerSecond, medianMs, minMs, maxMs, promptTokens } of prefill) {
    t.ok(Math.abs(tokensPerSecond - 1000) < 1e-6)
    t.ok(Math.abs(medianMs - promptTokens) < 1e-6 && Math.abs(minMs - promptTokens) < 1e-6 && Math.abs(maxMs - promptTokens) < 1e-6)
  }
  const chunks = runner.batches.map(({ sequences }) => [sequences[0]?.tokens?.length, sequences[0]?.sampling !== undefined])
  t.strictSame(chunks, [...Array.from({ length: 4 }, () => [[64, false], [36, true]]).flat(), ...Array.from({ length: 4 }, () => [64, true])], 'one warm-up and three runs each')
})

t.test('many prompts are packed into full steps before they decode together', async t => {
  const runner = new CheckingRunner()
  await bench(runner, { prompts: [], batches: [4], contexts: [40] })
  const prefills = runner.batches.filter(({ sequences }) => sequences.some(({ tokens }) => tokens !== undefined))
  t.strictSame(prefills.map(({ sequences }) => sequences.map(({ tokens }) => tokens?.length)), [[40, 24], [16, 40, 8], [32]])
})

t.test('what does not fit the engine is skipped, with the reason', async t => {
  const runner = new CheckingRunner()
  const report = await bench(runner, { prompts: [255, 256], batches: [1, 6, 9], contexts: [160, 244] })
  t.match(report.prefill, [{ promptTokens: 255, skipped: undefined }, { promptTokens: 256, skipped: /257 tokens; the model's context is 256/, tokensPerSecond: 0 }])
  t.match(report.decode, [
    { batch: 1, context: 160, skipped: undefined },
    // 160 + 1 + 2 + 10 tokens are 11 blocks each.
    { batch: 6, context: 160, skipped: /66 KV blocks; there are 64/ },
    { batch: 9, context: 160, skipped: /9 sequences; the engine has 8 rows/ },
    { batch: 1, context: 244, skipped: /257 tokens/ },
    { batch: 6, context: 244, skipped: /257 tokens/ },
    { batch: 9, context: 244, skipped: /257 tokens/ }
  ])
  t.equal(longestSequence({ ...plan, prompts: [255], contexts: [160] }), 256)
  t.equal(longestSequence({ ...plan, prompts: [16], contexts: [160] }), 173)
})

t.test('one decode step alone is a measurement', async t => {
  const [row] = (await bench(new CheckingRunner(), { prompts: [], batches: [2], decodeTokens: 1, warmupSteps: 0 })).decode
  t.ok(Math.abs((row?.medianStepMs ?? 0) - 10) < 1e-6)
  t.ok(Math.abs((row?.tokensPerSecond ?? 0) - 200) < 1e-6)
  t.equal(row?.copyBandwidthShare, undefined)
})

t.test('a lost device ends the benchmark with its error', async t => {
  const runner = new CheckingRunner()
  runner.failsAt = 6
  await t.rejects(bench(runner), { message: 'device lost' })
})

t.test('progress covers every measurement', async t => {
  const runner = new CheckingRunner()
  const seen: Array<[number, number]> = []
  await benchEngine(engineOf(runner), plan, { copyBandwidth: undefined, now: runner.now, onProgress: (done, total) => seen.push([done, total]) })
  t.strictSame(seen, [[0, 3], [1, 3], [2, 3], [3, 3]])
})
