import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { namedShape, openEngine } from '@daybreak/engine'
import type { EngineOptions, GpuEngine } from '@daybreak/engine'
import type { SampledToken } from '@daybreak/engine/contract'
import { decodeBatch } from '../../../packages/engine/src/bench/bench-batches.ts'
import { wholeLayerShape } from '../../../packages/engine/src/layers/whole-layers.ts'
import { whatIsTried } from '../../../packages/engine/src/tuning/choose-whole-layers.ts'
import { KeptLayers, layerKey } from '../../../packages/engine/src/tuning/kept-layers.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'
import { SequenceDriver, greedy } from './sequence-driver.ts'
import type { DrivenRequest } from './sequence-driver.ts'

const SEED = 20261127
const opened = await GpuHarness.open()
const gpu = 'missing' in opened || (opened.device.capabilities.narrowMatrix === true && !opened.device.report.software) ? opened : { missing: `${opened.device.report.name} has no tensor cores` }

const folder = mkdtempSync(join(tmpdir(), 'daybreak-whole-layers-'))
t.teardown(() => { rmSync(folder, { recursive: true }) })

/** Which grids are used, so that no measuring decides whether anything is tested: of half as many workgroups as a server's card has processors. */
async function keepChoice ({ device: { report, capabilities } }: GpuHarness): Promise<void> {
  const config = namedShape('qwen3-0.6b')
  const grids = [{ rows: 1, teams: 16, ahead: 8 }, { rows: 2, teams: 16, ahead: 4 }, { rows: 8, teams: 16, ahead: 4 }].map(grid => ({ ...grid, workgroups: 64 }))
  const shapes = grids.map(grid => wholeLayerShape(config, { report, capabilities }, grid))
  const [shape] = shapes
  if (shape === undefined || shapes.includes(undefined)) throw new TypeError('the adapter has no whole layers')
  const measured = grids.map(grid => ({ ...grid, mostKeys: 32_768, measuredKeys: 32_768 }))
  // Nothing is left to be measured: three and four sequences are computed apart.
  await new KeptLayers(folder, report, whatIsTried).add({ [layerKey(shape, config)]: [...measured, ...measured.slice(2).map(eight => ({ ...eight, rows: 4, mostKeys: 0 }))] })
}

/** A model with norms of queries and keys; random weights. */
async function open (change: Partial<EngineOptions>): Promise<GpuEngine> {
  return await openEngine({
    model: { type: 'synthetic', shape: 'qwen3-0.6b', seed: 1 },
    dtype: 'auto',
    adapter: undefined,
    debug: false,
    blockSize: 16,
    kvCacheBytes: 512 << 20,
    maxModelLen: 2048,
    maxSequences: 8,
    maxBatchedTokens: 1024,
    tuningFolder: folder,
    onProgress: () => {},
    ...change
  })
}

gpuTest('a model that decodes by whole layers, alone or with others, answers as by several kernels each, at any context', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const requests = [1, 15, 60, 127, 300, 1000, 1600].map((length, i): DrivenRequest => ({
    name: `request ${i}`,
    prompt: Array.from({ length }, () => random.integer(100_000)),
    maxNewTokens: 12,
    sampling: { ...greedy, numLogprobs: 5 }
  }))
  const alone = { chunk: 1024, stagger: 0, inFlight: 2, seed: 1 }
  const results = []
  await keepChoice(gpu)
  for (const wholeLayers of [true, false]) {
    const engine = await open({ wholeLayers })
    for (const count of [1, 2, 7]) {
      const kernels = await engine.profile(decodeBatch(count, 600, engine.runner.limits))
      t.equal(kernels.some(({ label }) => label === 'whole layer'), wholeLayers, `layers of ${count} are ${wholeLayers ? '' : 'not '}whole`)
    }
    const driver = new SequenceDriver(engine.runner)
    const sampled: SampledToken[] = []
    for (const group of [...requests.map(request => [request]), requests.slice(3, 5), requests]) {
      const answers = await driver.run(group, alone)
      for (const { name } of group) sampled.push(...answers.get(name)?.sampled ?? [])
    }
    results.push(sampled)
    await engine.runner[Symbol.asyncDispose]()
  }
  const [whole = [], apart = []] = results
  t.equal(whole.length, 12 * (2 * requests.length + 2))
  // Random weights make close calls; once two tokens differ, what follows has another context.
  let same = 0
  let equal = 0
  for (const [i, { token, logprob }] of whole.entries()) {
    const other = apart[i]
    if (i % 12 === 0) same = 0
    if (same === i % 12) {
      same = token === other?.token ? i % 12 + 1 : 0
      equal += Number(token === other?.token)
      t.ok(Math.abs(logprob - (other?.logprob ?? NaN)) < 0.02, `token ${i % 12} of request ${Math.floor(i / 12)}: ${logprob} for ${other?.logprob}`)
    }
  }
  t.ok(equal >= 6 * (2 * requests.length + 2), `${equal} tokens are the same`)
})
