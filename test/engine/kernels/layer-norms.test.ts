import { normAdd, qkNorm, toActivation } from '../../../packages/engine/src/kernels/model-kernels.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { F32_ROUNDING, assertClose } from './assert-close.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { countedTokens } from './step-records.ts'

const SEED = 20261125
const EPS = 1e-5
const gpu = await GpuHarness.open()

function normalised (values: Float64Array, weight: Float64Array): Float64Array {
  const scale = 1 / Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length + EPS)
  return values.map((x, i) => x * scale * (weight[i] ?? NaN))
}

// Rows narrower and wider than a workgroup's vectors, and one whose end it does not divide.
gpuTest('norm_add adds the normalised branch to each token\'s residual and leaves other rows alone', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  for (const hidden of [4, 128, 132, 520]) {
    const tokens = 3
    const [branch, before] = [stored(random.normals(4 * hidden), 'f32'), stored(random.normals(4 * hidden), 'f32')]
    const weight = stored(random.normals(hidden), 'f32')
    const x = await gpu.upload(before, 'f32')
    await gpu.run(normAdd, {
      overrides: { HIDDEN_SIZE: hidden, EPS, THREADS: 32 },
      buffers: { y: await gpu.upload(branch, 'f32'), weight: await gpu.upload(weight, 'f32'), step: await gpu.step({ tokens: countedTokens(tokens) }), x },
      grid: [tokens + 1, 1, 1]
    })
    const expected = Float64Array.from(before)
    for (let row = 0; row < tokens; row++) {
      normalised(branch.slice(row * hidden, (row + 1) * hidden), weight).forEach((value, i) => { expected[row * hidden + i] = (expected[row * hidden + i] ?? NaN) + value })
    }
    assertClose(t, await gpu.download(x, 4 * hidden, 'f32'), expected, () => (hidden / 8 + 16) * F32_ROUNDING * 5, `hidden size ${hidden}`)
  }
})

for (const [kind, qSegments, qLength, kSegments, kLength] of [['every head', 6, 32, 2, 32], ['every head of more than a workgroup', 3, 160, 1, 160], ['the whole projection', 1, 192, 1, 64]] as const) {
  gpuTest(`qk_norm normalises ${kind} of queries and keys in place, and no value`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const tokens = 3
    const [qWidth, kWidth] = [qSegments * qLength, kSegments * kLength]
    const row = qWidth + 2 * kWidth
    const before = stored(random.normals((tokens + 1) * row), 'f32')
    const weight = stored(random.normals(qLength + kLength), 'f32')
    const qkv = await gpu.upload(before, 'f32')
    await gpu.run(qkNorm, {
      overrides: { ROW: row, Q_SEGMENTS: qSegments, Q_LENGTH: qLength, K_LENGTH: kLength, EPS, THREADS: 32 },
      buffers: { weight: await gpu.upload(weight, 'f32'), step: await gpu.step({ tokens: countedTokens(tokens) }), qkv },
      grid: [qSegments + kSegments, tokens + 1, 1]
    })
    const expected = Float64Array.from(before)
    for (let token = 0; token < tokens; token++) {
      for (let segment = 0; segment < qSegments + kSegments; segment++) {
        const isKey = segment >= qSegments
        const from = token * row + (isKey ? qWidth + (segment - qSegments) * kLength : segment * qLength)
        const own = isKey ? weight.slice(qLength) : weight.slice(0, qLength)
        expected.set(normalised(before.slice(from, from + own.length), own), from)
      }
    }
    assertClose(t, await gpu.download(qkv, before.length, 'f32'), expected, () => (qLength / 8 + 16) * F32_ROUNDING * 5, kind)
  })
}

gpuTest('to_activation copies the residual stream in the type of activations, at most as large as that holds', gpu, async (t, gpu) => {
  const x = Float64Array.from({ length: 3 * 260 }, (_, i) => i % 7 === 0 ? 1e6 : i - 300)
  for (const activation of ['f32', 'f16'] as const) {
    const y = await gpu.poisoned(3 * 260, activation)
    await gpu.run(toActivation, { activation, overrides: { HIDDEN_SIZE: 260 }, buffers: { x: await gpu.upload(x, 'f32'), step: await gpu.step({ tokens: countedTokens(2) }), y }, grid: [2, 3, 1] })
    const expected = x.map((value, i) => i >= 2 * 260 ? NaN : activation === 'f16' ? Math.min(value, 65504) : value)
    t.strictSame(await gpu.download(y, 3 * 260, activation), expected, activation)
  }
})
