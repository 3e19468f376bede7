import t from 'tap'
import type { Test } from 'tap'
import type { StorageType } from '../../../../packages/engine/src/engine.ts'
import { UnsupportedModelError } from '../../../../packages/engine/src/errors.ts'
import { CommandList } from '../../../../packages/engine/src/kernels/command-list.ts'
import { checkExpertConfig } from '../../../../packages/engine/src/kernels/experts/expert-config.ts'
import { chooseVariant, maxExpertTiles } from '../../../../packages/engine/src/kernels/experts/expert-variants.ts'
import { createExpertBuffers } from '../../../../packages/engine/src/layers/expert-buffers.ts'
import { ExpertMlp } from '../../../../packages/engine/src/layers/expert-mlp.ts'
import type { ExpertConfig } from '../../../../packages/engine/src/layers/expert-mlp.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { expertMlp, routeExperts } from '../../../reference/expert-mlp.ts'
import type { ExpertWeightsReference } from '../../../reference/expert-mlp.ts'
import { stored } from '../../../reference/float16.ts'
import { gatedMlp } from '../../../reference/gated-mlp.ts'
import { F16_ROUNDING, F32_ROUNDING, assertClose, assertSameBits } from '../assert-close.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { countedTokens } from '../step-records.ts'
import { uploadExperts } from './upload-experts.ts'

const SEED = 20261126
const whole = await GpuHarness.open()
const split = await GpuHarness.open({ without: ['subgroups'], maxBindingBytes: 16_384 })

interface Model extends ExpertWeightsReference {
  readonly config: ExpertConfig
  readonly storage: StorageType
  readonly activation: StorageType
  readonly router: Float64Array
}

function randomModel (random: SeededRandom, config: ExpertConfig, storage: StorageType, activation: StorageType): Model {
  const { numExperts, hiddenSize, intermediateSize } = config
  const projection = (rows: number, k: number): Float64Array[] => Array.from({ length: numExperts }, () => stored(random.normals(rows * k, 1 / Math.sqrt(k)), storage))
  return {
    config,
    storage,
    activation,
    router: stored(random.normals(numExperts * hiddenSize, 2 / Math.sqrt(hiddenSize)), 'f32'),
    gate: projection(intermediateSize, hiddenSize),
    up: projection(intermediateSize, hiddenSize),
    down: projection(hiddenSize, intermediateSize)
  }
}

/** Runs steps of up to `maxTokens` tokens: x `[T][hidden]` and the residual stream before to the one after. */
async function layer (t: Test, gpu: GpuHarness, model: Model, maxTokens: number): Promise<(x: Float64Array, before: Float64Array) => Promise<GPUBuffer>> {
  const { config, storage, activation } = model
  const { device } = gpu
  const weights = {
    router: await gpu.upload(model.router, 'f32'),
    gateUp: await uploadExperts(t, gpu, [model.gate, model.up], config.hiddenSize, storage),
    down: await uploadExperts(t, gpu, [model.down], config.intermediateSize, storage)
  }
  const buffers = await createExpertBuffers(device, config, maxTokens, activation)
  t.teardown(() => { for (const buffer of Object.values<GPUBuffer>({ ...buffers })) buffer.destroy() })
  return async (x, before) => {
    const tokens = x.length / config.hiddenSize
    const activations = { step: await gpu.step({ tokens: countedTokens(tokens) }), normed: await gpu.upload(x, activation), residual: await gpu.upload(before, 'f32') }
    const mlp = await ExpertMlp.create({ device, pipelines: gpu.pipelines(storage, activation), buffers: activations }, config, weights, buffers)
    const list = new CommandList()
    mlp.record(list, { tokens })
    const encoder = device.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    device.queue.submit([encoder.finish()])
    return activations.residual
  }
}

/**
 * The exact result and how far it may stray: rounding errors of a chain of n fma are at most n · 2⁻²⁴ of its absolute terms, those
 * of both chains add up, and shares are wrong by twice the error of a logit. `magnitude` is the layer of all absolute values.
 */
function expectation (model: Model, x: Float64Array, before: Float64Array): { values: Float64Array, tolerance: (i: number) => number } {
  const { config, activation } = model
  const { hiddenSize, intermediateSize } = config
  const routing = routeExperts(x, model.router, hiddenSize, config)
  const y = expertMlp(x, model, routing, hiddenSize, config.activation)
  const absolute = (weights: ExpertWeightsReference['gate']): Float64Array[] => weights.map(weight => Float64Array.from(weight, Math.abs))
  const magnitude = expertMlp(x.map(Math.abs), { gate: absolute(model.gate), up: absolute(model.up), down: absolute(model.down) }, routing, hiddenSize, config.activation)
  const relative = (3 * hiddenSize + intermediateSize + 64) * F32_ROUNDING + (activation === 'f16' ? F16_ROUNDING : 0)
  return { values: y.map((value, i) => value + (before[i] ?? NaN)), tolerance: i => relative * (magnitude[i] ?? NaN) + F32_ROUNDING * Math.abs(before[i] ?? NaN) }
}

const mixtral: ExpertConfig = { numExperts: 8, expertsPerToken: 2, hiddenSize: 64, intermediateSize: 96, normalizeTopK: true, activation: 'silu' }
const qwen: ExpertConfig = { numExperts: 60, expertsPerToken: 4, hiddenSize: 68, intermediateSize: 36, normalizeTopK: false, activation: 'silu' }

for (const [how, gpu, config, storage, activation] of [
  ['one buffer', whole, mixtral, 'f32', 'f32'],
  ['many buffers, without subgroups', split, mixtral, 'f32', 'f32'],
  ['many buffers, without subgroups', split, qwen, 'f16', 'f32'],
  ['one buffer', whole, { ...mixtral, numExperts: 4, expertsPerToken: 1, activation: 'gelu-tanh' }, 'f16', 'f16']
] as Array<[string, typeof whole, ExpertConfig, StorageType, StorageType]>) {
  gpuTest(`an expert MLP with ${config.expertsPerToken} of ${config.numExperts} experts in ${how} equals the reference, ${storage}, act ${activation}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const model = randomModel(random, config, storage, activation)
    const run = await layer(t, gpu, model, 100)
    // A lone token, both sides of the rows of tiles, and enough for several tiles an expert.
    for (const tokens of [1, 3, 4, 5, 17, 100]) {
      const x = stored(random.normals(tokens * config.hiddenSize), activation)
      const before = stored(random.normals(tokens * config.hiddenSize), 'f32')
      const { values, tolerance } = expectation(model, x, before)
      assertClose(t, await gpu.download(await run(x, before), values.length, 'f32'), values, tolerance, `${tokens} tokens`)
    }
  })
}

for (const [how, gpu, config] of [['one buffer', whole, mixtral], ['many buffers, without subgroups', split, qwen]] as const) {
  gpuTest(`a token leaves an expert MLP with the same bits alone, in chunks and among neighbours: ${config.numExperts} experts in ${how}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    // The same types as above, whose kernels are compiled.
    const model = randomModel(random, config, config === qwen ? 'f16' : 'f32', 'f32')
    const run = await layer(t, gpu, model, 41)
    const { hiddenSize } = config
    const x = stored(random.normals(41 * hiddenSize), 'f32')
    const before = stored(random.normals(41 * hiddenSize), 'f32')
    const all = await gpu.bits(await run(x, before), x.length, 'f32')
    for (const chunk of [1, 2, 7, 20]) {
      for (let first = 0; first < 41; first += chunk === 1 ? 9 : chunk) {
        const [from, to] = [first * hiddenSize, Math.min(41, first + chunk) * hiddenSize]
        const bits = await gpu.bits(await run(x.slice(from, to), before.slice(from, to)), to - from, 'f32')
        assertSameBits(t, bits, all.subarray(from, to), `tokens from ${first}, ${chunk} at a time`)
      }
    }
  })
}

gpuTest('experts that are all alike are one dense MLP', whole, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const one = randomModel(random, { ...mixtral, numExperts: 1, expertsPerToken: 1 }, 'f32', 'f32')
  const alike = (weights: ExpertWeightsReference['gate']): ExpertWeightsReference['gate'] => new Array(8).fill(weights[0])
  const model = { ...randomModel(random, mixtral, 'f32', 'f32'), gate: alike(one.gate), up: alike(one.up), down: alike(one.down) }
  const x = stored(random.normals(17 * 64), 'f32')
  const before = new Float64Array(x.length)
  const run = await layer(t, gpu, model, 17)
  const [gate, up, down] = [one.gate[0], one.up[0], one.down[0]]
  if (gate === undefined || up === undefined || down === undefined) throw new Error('there is one expert')
  assertClose(t, await gpu.download(await run(x, before), x.length, 'f32'), gatedMlp(x, { gate, up, down }, 64), expectation(model, x, before).tolerance, 'mixture of equals')
})

t.test('there is room for the tiles of the worst choice of experts, and for no more', async t => {
  for (const [numExperts, expertsPerToken] of [[4, 1], [8, 2], [60, 4], [128, 8]] as const) {
    const config = { ...mixtral, numExperts, expertsPerToken }
    for (const rows of [1, 2, 4, 16]) {
      for (const tokens of [0, 1, 2, 3, 4, 5, 16, 17, 33, 100]) {
        // Greedy worst case: as many experts as possible begin a tile, each further tile costs `rows` pairs.
        const pairs = tokens * expertsPerToken
        const begun = Math.min(pairs, numExperts)
        let left = pairs - begun
        let tiles = begun
        for (let round = 1; round * rows < tokens && left >= rows; round++) {
          const more = Math.min(begun, Math.floor(left / rows))
          tiles += more
          left -= more * rows
        }
        const room = maxExpertTiles(tokens, rows, config)
        t.ok(room >= tiles && room <= Math.max(tiles + 1, tiles * 1.5), `${tokens} tokens, ${numExperts} experts, tiles of ${rows}: ${room} for ${tiles}`)
      }
    }
  }
})

t.test('few tokens get tiles that hold all their rows, more get tiles by what an expert has on average', async t => {
  const variants = [{ rows: 1, upTo: 0 }, { rows: 2, upTo: 0 }, { rows: 4, upTo: 4 }, { rows: 8, upTo: 32 }, { rows: 16, upTo: Infinity }]
  const config = { ...mixtral, numExperts: 128, expertsPerToken: 8 }
  const rows = [1, 2, 3, 4, 5, 64, 65, 512, 513, 5000].map(tokens => chooseVariant(variants, tokens, config)?.rows)
  t.strictSame(rows, [1, 2, 4, 4, 4, 4, 8, 8, 16, 16])
})

t.test('sizes that the kernels were not made for are refused by name', async t => {
  for (const [change, field] of [
    [{ numExperts: 0 }, 'num_experts'], [{ numExperts: 257 }, 'num_experts'], [{ expertsPerToken: 0 }, 'num_experts_per_tok'],
    [{ expertsPerToken: 9 }, 'num_experts_per_tok'], [{ numExperts: 64, expertsPerToken: 17 }, 'num_experts_per_tok'],
    [{ intermediateSize: 34 }, 'moe_intermediate_size'], [{ hiddenSize: 66 }, 'hidden_size']
  ] as const) {
    try {
      checkExpertConfig({ ...mixtral, ...change })
      t.fail(`${JSON.stringify(change)} was accepted`)
    } catch (error) {
      t.type(error, UnsupportedModelError)
      if (error instanceof UnsupportedModelError) t.equal(error.details.field, field)
    }
  }
  checkExpertConfig({ ...mixtral, numExperts: 256, expertsPerToken: 16 })
})
