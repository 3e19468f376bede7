import t from 'tap'
import { longestContext, rotation } from '../../../packages/engine/src/models/rotary.ts'
import type { RotaryConfig, RotaryScaling } from '../../../packages/engine/src/models/rotary.ts'

const close = (value: number | undefined, expected: number): boolean => Math.abs((value ?? NaN) / expected - 1) < 1e-6
const frequencies = (config: RotaryConfig, maxModelLen = 4096): number[] => [...rotation(config, maxModelLen).frequencies]

t.test('unscaled frequencies fall geometrically from one, over the turned dimensions alone', async t => {
  t.strictSame(frequencies({ dim: 8, theta: 10_000, scaling: undefined }), [1, 0.1, 0.01, 0.001].map(Math.fround))
  t.strictSame(frequencies({ dim: 4, theta: 10_000, scaling: undefined }), [1, 0.01].map(Math.fround))
  t.equal(rotation({ dim: 8, theta: 10_000, scaling: undefined }, 1).amplitude, 1)
})

t.test('linear scaling divides every frequency, frequency factors each by its own', async t => {
  const plain = { dim: 8, theta: 10_000 }
  t.strictSame(frequencies({ ...plain, scaling: { type: 'linear', factor: 4 } }), [0.25, 0.025, 0.0025, 0.00025].map(Math.fround))
  t.strictSame(frequencies({ ...plain, scaling: { type: 'frequency-factors', factors: [1, 2, 4, 8] } }), [1, 0.05, 0.0025, 0.000125].map(Math.fround))
})

t.test('dynamic scaling leaves the trained context alone and raises the base beyond it', async t => {
  const config: RotaryConfig = { dim: 8, theta: 10_000, scaling: { type: 'dynamic', factor: 2, originalMaxPositionEmbeddings: 1024 } }
  t.strictSame(frequencies(config, 1024), [1, 0.1, 0.01, 0.001].map(Math.fround))
  t.strictSame(frequencies(config, 100), frequencies(config, 1024))
  // At twice the length the base is stretched by 2 · 2 − 1 = 3, to the power 8 / 6.
  const base = 10_000 * 3 ** (8 / 6)
  frequencies(config, 2048).forEach((frequency, pair) => t.ok(close(frequency, base ** (-2 * pair / 8)), `pair ${pair}`))
  t.equal(longestContext(config, 1024), 2048, 'and so carries the model to twice its context')
  t.equal(longestContext({ ...config, scaling: { type: 'linear', factor: 2 } }, 1024), 1024)
})

t.test('llama3 scaling keeps short wavelengths, stretches long ones and interpolates between', async t => {
  const llama = { dim: 64, theta: 500_000 }
  const scaling: RotaryScaling = { type: 'llama3', factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 }
  const plain = frequencies({ ...llama, scaling: undefined })
  const scaled = frequencies({ ...llama, scaling })
  t.equal(scaled.length, 32)
  // Llama 3.2 1B: 8192 / wavelength crosses 4 between pairs 14 and 15 and 1 between pairs 17 and 18.
  for (const [pair, frequency] of plain.entries()) {
    const value = scaled[pair] ?? NaN
    if (pair <= 14) t.equal(value, frequency, `pair ${pair} is kept`)
    else if (pair >= 18) t.equal(value, Math.fround(frequency / 32), `pair ${pair} is divided by 32`)
    else t.ok(value < frequency && value > frequency / 32, `pair ${pair} is between`)
  }
  // Pair 16: frequency 500000^-0.5, 8192 · frequency / 2π = 1.843848 turns, so 0.2812826 of it is kept unscaled.
  const frequency = 500_000 ** -0.5
  const kept = (8192 * frequency / (2 * Math.PI) - 1) / 3
  t.ok(Math.abs(kept - 0.2812826) < 1e-7)
  t.ok(Math.abs((scaled[16] ?? 0) - (0.2812826 * frequency + (1 - 0.2812826) * frequency / 32)) < 1e-9)
})

t.test('YaRN keeps fast pairs, divides slow ones, ramps between, and raises the temperature', async t => {
  // theta 10,000 over 64 dimensions and 2,048 positions: pair 32 · ln(2048 / (2π · turns)) / ln(10000) turns so often: 8.06 for 32, 20.1 for 1.
  const scaling: RotaryScaling = { type: 'yarn', factor: 4, betaFast: 32, betaSlow: 1, truncate: true, attentionFactor: 1.1386, originalMaxPositionEmbeddings: 2048 }
  const plain = frequencies({ dim: 64, theta: 10_000, scaling: undefined })
  const scaled = frequencies({ dim: 64, theta: 10_000, scaling })
  const ramp = (pair: number, low: number, high: number): number => Math.min(1, Math.max(0, (pair - low) / (high - low)))
  plain.forEach((frequency, pair) => {
    const part = ramp(pair, 8, 21)
    t.ok(close(scaled[pair], frequency * (1 - part) + frequency / 4 * part), `pair ${pair}`)
  })
  t.equal(rotation({ dim: 64, theta: 10_000, scaling }, 1).amplitude, 1.1386)
  const untruncated = frequencies({ dim: 64, theta: 10_000, scaling: { ...scaling, truncate: false } })
  t.notOk(close(untruncated[12], scaled[12] ?? NaN), 'without truncation the ramp starts between pairs')
})

t.test('LongRoPE has one list of divisors up to the original context and one beyond it', async t => {
  const config: RotaryConfig = { dim: 4, theta: 100, scaling: { type: 'longrope', shortFactor: [1, 2], longFactor: [4, 5], attentionFactor: 1.2, originalMaxPositionEmbeddings: 64 } }
  t.strictSame(frequencies(config, 64), [1, 0.05].map(Math.fround))
  t.strictSame(frequencies(config, 65), [0.25, 0.02].map(Math.fround))
  t.equal(rotation(config, 64).amplitude, 1.2)
})
