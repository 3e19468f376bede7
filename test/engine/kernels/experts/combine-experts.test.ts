import { combineExperts } from '../../../../packages/engine/src/kernels/experts/expert-kernels.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { stored } from '../../../reference/float16.ts'
import { F32_ROUNDING, assertClose, assertSameBits } from '../assert-close.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { countedTokens } from '../step-records.ts'

const SEED = 20261123
const gpu = await GpuHarness.open()

/** The residual stream after y `[T · k][hidden]` was added to it. */
async function combine (gpu: GpuHarness, y: Float64Array, share: Float64Array, before: Float64Array, expertsPerToken: number): Promise<GPUBuffer> {
  const tokens = share.length / expertsPerToken
  const hiddenSize = before.length / tokens
  const residual = await gpu.upload(before, 'f32')
  await gpu.run(combineExperts, {
    overrides: { HIDDEN_SIZE: hiddenSize, TOP_K: expertsPerToken },
    buffers: { y: await gpu.upload(y, 'f32'), share: await gpu.upload(share, 'f32'), step: await gpu.step({ tokens: countedTokens(tokens) }), residual },
    grid: [Math.ceil(hiddenSize / 256), tokens + 1, 1]
  })
  return residual
}

gpuTest('combine_experts adds the weighted outputs, and gives a token the same bits alone', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  // Both sides of a workgroup's 256 columns.
  for (const [hiddenSize, k, tokens] of [[4, 1, 3], [252, 2, 2], [256, 4, 5], [260, 8, 3]] as const) {
    const y = stored(random.normals(tokens * k * hiddenSize), 'f32')
    const share = stored(random.normals(tokens * k), 'f32')
    const before = stored(random.normals(tokens * hiddenSize), 'f32')
    const term = (i: number, s: number): number => {
      const pair = Math.floor(i / hiddenSize) * k + s
      return (share[pair] ?? NaN) * (y[pair * hiddenSize + i % hiddenSize] ?? NaN)
    }
    const slots = Array.from({ length: k }, (_, s) => s)
    const residual = await combine(gpu, y, share, before, k)
    assertClose(t, await gpu.download(residual, before.length, 'f32'), before.map((value, i) => slots.reduce((sum, s) => sum + term(i, s), value)),
      i => (k + 1) * F32_ROUNDING * slots.reduce((sum, s) => sum + Math.abs(term(i, s)), Math.abs(before[i] ?? NaN)), `hidden size ${hiddenSize}, ${k} experts a token`)
    const bits = await gpu.bits(residual, before.length, 'f32')
    const last = tokens - 1
    const alone = await combine(gpu, y.slice(last * k * hiddenSize), share.slice(last * k), before.slice(last * hiddenSize), k)
    assertSameBits(t, await gpu.bits(alone, hiddenSize, 'f32'), bits.subarray(last * hiddenSize), 'the last token alone')
  }
})
