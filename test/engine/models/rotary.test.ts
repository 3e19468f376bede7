import t from 'tap'
import { rotaryInverseFrequencies } from '../../../packages/engine/src/models/rotary.ts'

t.test('unscaled frequencies fall geometrically from one', async t => {
  const frequencies = rotaryInverseFrequencies({ headDim: 8, ropeTheta: 10_000, ropeScaling: undefined })
  t.strictSame([...frequencies], [1, 0.1, 0.01, 0.001].map(Math.fround))
})

t.test('llama3 scaling keeps short wavelengths, stretches long ones and interpolates between', async t => {
  const llama = { headDim: 64, ropeTheta: 500_000 }
  const ropeScaling = { type: 'llama3', factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 } as const
  const plain = rotaryInverseFrequencies({ ...llama, ropeScaling: undefined })
  const scaled = rotaryInverseFrequencies({ ...llama, ropeScaling })
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
