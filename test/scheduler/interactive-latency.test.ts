import t from 'tap'
import { percentile, simulate } from './interactive-latency.ts'
import type { Load } from './interactive-latency.ts'

const SEED = 5
const load = (rate: number): Omit<Load, 'batch'> => ({ requests: 300, rate, promptTokens: 512, outputTokens: 64, seed: SEED })

for (const rate of [3, 8]) {
  t.test(`with a batch behind ${rate} requests a second, p99 of first tokens is within 10 % in simulated time, and tokens follow as closely`, async t => {
    t.comment(`seed ${SEED}`)
    const [alone, beside] = [simulate({ ...load(rate), batch: false }), simulate({ ...load(rate), batch: true })]
    const [first, between] = [percentile(beside.toFirst, 0.99) / percentile(alone.toFirst, 0.99), percentile(beside.between, 0.99) / percentile(alone.between, 0.99)]
    t.ok(first < 1.1, `${first.toFixed(3)} of the time to first token`)
    t.ok(between < 1.01, `${between.toFixed(3)} of the time between tokens`)
    t.ok(beside.batchRate > 5000, `the batch gets ${beside.batchRate.toFixed(0)} tokens a second`)
  })
}

t.test('steps of full size behind the same requests would make first tokens come twice as late', async t => {
  t.comment(`seed ${SEED}`)
  const [alone, beside] = [simulate({ ...load(8), batch: false }), simulate({ ...load(8), batch: true, config: { backgroundQuietSeconds: 0 } })]
  t.ok(percentile(beside.toFirst, 0.99) > 2 * percentile(alone.toFirst, 0.99))
})
