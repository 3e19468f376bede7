import t from 'tap'
import { RandomStream } from '../../../apps/server/src/bench/random-stream.ts'
import { arrivalSchedule } from '../../../apps/server/src/bench/serve/arrival-schedule.ts'
import { mean, standardDeviation } from '../../../apps/server/src/bench/statistics.ts'

const gapsOf = (arrivals: Float64Array): number[] => [...arrivals].map((time, i) => time - (arrivals[i - 1] ?? 0))

t.test('the last request leaves at exactly N / rate, whatever was drawn', async t => {
  for (const [numRequests, requestRate, burstiness] of [[1, 4, 1], [100, 8, 1], [1000, 250, 0.5], [1000, 3, 20]] as const) {
    const arrivals = arrivalSchedule(numRequests, { requestRate, burstiness }, new RandomStream(5))
    t.equal(arrivals.length, numRequests)
    t.ok(Math.abs((arrivals.at(-1) ?? 0) - numRequests / requestRate) < 1e-9 * numRequests)
    t.ok(gapsOf(arrivals).every(gap => gap >= 0), 'time does not run backwards')
  }
})

t.test('an infinite rate sends everything at once', async t => {
  t.strictSame([...arrivalSchedule(3, { requestRate: Infinity, burstiness: 1 }, new RandomStream(0))], [0, 0, 0])
  t.strictSame([...arrivalSchedule(0, { requestRate: 1, burstiness: 1 }, new RandomStream(0))], [])
})

t.test('burstiness is the shape of the gaps: their relative spread is its inverse root', async t => {
  for (const burstiness of [0.25, 1, 16]) {
    const gaps = gapsOf(arrivalSchedule(20_000, { requestRate: 50, burstiness }, new RandomStream(7)))
    const spread = standardDeviation(gaps) / mean(gaps)
    t.ok(Math.abs(spread * Math.sqrt(burstiness) - 1) < 0.05, `${burstiness}: ${spread}`)
  }
})

t.test('the same seed gives the same schedule', async t => {
  const schedule = (seed: number): number[] => [...arrivalSchedule(20, { requestRate: 2, burstiness: 1 }, new RandomStream(seed))]
  t.strictSame(schedule(1), schedule(1))
  t.notSame(schedule(1), schedule(2))
})
