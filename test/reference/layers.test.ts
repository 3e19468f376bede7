import t from 'tap'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { embedding } from './embedding.ts'
import { gatedMlp, siluGate } from './gated-mlp.ts'
import { logits } from './logits.ts'
import { logSoftmax, topLogprobs } from './logprobs.ts'
import { matmul } from './matmul.ts'
import { addRmsNorm, rmsNorm } from './rms-norm.ts'
import { rotary, rotaryFrequencies } from './rotary.ts'

const close = (t: { ok: (ok: boolean, message: string) => boolean }, found: Float64Array, wanted: readonly number[]) =>
  t.ok(found.length === wanted.length && found.every((value, i) => Math.abs(value - (wanted[i] ?? NaN)) < 1e-12), `${found} is ${wanted}`)

t.test('embedding gathers rows in the order of the tokens', async t => {
  close(t, embedding(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 0, 2], 2), [5, 6, 1, 2, 5, 6])
})

t.test('matmul multiplies by the transposed weight, then adds bias and residual', async t => {
  const x = Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
  const weight = Float64Array.of(1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2)
  close(t, matmul(x, weight, 5), [1, 15, 10, 6, 40, 20])
  close(t, matmul(x, weight, 5, { bias: Float64Array.of(1, 2, 3), residual: Float64Array.of(0, 0, 0, 10, 20, 30) }),
    [2, 17, 13, 17, 62, 53])
})

t.test('RMSNorm divides each row by its root mean square, and the residual form updates the residual', async t => {
  const weight = Float64Array.of(1, 2)
  const root = Math.sqrt(12.5 + 1e-5)
  close(t, rmsNorm(Float64Array.of(3, 4, 0, 0), weight, 1e-5), [3 / root, 8 / root, 0, 0])
  const residual = Float64Array.of(1, 1)
  close(t, addRmsNorm(residual, Float64Array.of(2, 3), weight, 1e-5), [3 / root, 8 / root])
  close(t, residual, [3, 4])
})

t.test('rotary leaves position 0 alone, turns the first pair by the position, and scores depend on distance only', async t => {
  const frequencies = rotaryFrequencies(8, 10000)
  close(t, frequencies, [1, 0.1, 0.01, 0.001])
  const random = new SeededRandom(1)
  const query = random.normals(8)
  const key = random.normals(8)
  close(t, rotary(query, [0], frequencies), [...query])
  const unit = Float64Array.of(1, 0, 0, 0, 0, 0, 0, 0)
  close(t, rotary(unit, [3], frequencies), [Math.cos(3), 0, 0, 0, Math.sin(3), 0, 0, 0])
  const score = (queryAt: number, keyAt: number) =>
    matmul(rotary(query, [queryAt], frequencies), rotary(key, [keyAt], frequencies), 8)
  close(t, score(7, 5), [...score(102, 100)])
})

t.test('the gated MLP multiplies silu(gate) by up before the down projection', async t => {
  const silu = (x: number) => x / (1 + Math.exp(-x))
  close(t, siluGate(Float64Array.of(0, 2, -3), Float64Array.of(5, 7, 11)), [0, 7 * silu(2), 11 * silu(-3)])
  const weights = { gate: Float64Array.of(1, 1), up: Float64Array.of(2, -1), down: Float64Array.of(10) }
  close(t, gatedMlp(Float64Array.of(3, 4), weights, 2), [10 * silu(7) * 2])
})

t.test('logits are computed for the asked rows in the asked order', async t => {
  const hidden = Float64Array.of(1, 2, 3, 4, 5, 6)
  const head = Float64Array.of(1, 0, 0, 1, 1, 1)
  close(t, logits(hidden, head, 2, [2, 0]), [5, 6, 11, 1, 2, 3])
})

t.test('log-softmax survives large logits, and the lower id comes first on a tie', async t => {
  close(t, logSoftmax(Float64Array.of(1000, 1000, -Infinity)).slice(0, 2), [-Math.LN2, -Math.LN2])
  t.same(topLogprobs(Float64Array.of(1, 3, 3, 2), 3).map(({ token }) => token), [1, 2, 3])
})
