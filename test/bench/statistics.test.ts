import t from 'tap'
import { RandomStream } from '../../apps/server/src/bench/random-stream.ts'
import { mean, median, percentile, standardDeviation } from '../../apps/server/src/bench/statistics.ts'

t.test('summaries are numpy\'s', async t => {
  const values = [3, 1, 4, 1, 5, 9, 2, 6]
  t.equal(mean(values), 3.875)
  t.equal(median(values), 3.5)
  t.equal(standardDeviation(values).toFixed(12), '2.570870475150')
  t.equal(percentile(values, 0), 1)
  t.equal(percentile(values, 25), 1.75)
  t.equal(percentile(values, 99).toFixed(12), '8.790000000000')
  t.equal(percentile(values, 100), 9)
  t.strictSame(values, [3, 1, 4, 1, 5, 9, 2, 6], 'the list is left as it was')
})

t.test('one value is every percentile, and an empty list gives zeros', async t => {
  t.strictSame([mean([7]), median([7]), standardDeviation([7]), percentile([7], 99)], [7, 7, 0, 7])
  t.strictSame([mean([]), median([]), standardDeviation([]), percentile([], 99)], [0, 0, 0, 0])
})

t.test('equal seeds give equal streams, others give others', async t => {
  const draw = (seed: number): number[] => {
    const random = new RandomStream(seed)
    return Array.from({ length: 8 }, () => random.uniform())
  }
  t.strictSame(draw(1), draw(1))
  t.notSame(draw(1), draw(2))
  t.notSame(draw(0), draw(1))
})

t.test('draws have the moments of their distributions', async t => {
  const random = new RandomStream(20)
  const draws = (draw: () => number): number[] => Array.from({ length: 40_000 }, draw)
  const near = (actual: number, expected: number, tolerance: number, name: string): void => {
    t.ok(Math.abs(actual - expected) < tolerance, `${name}: ${actual} is near ${expected}`)
  }
  // Five standard errors of 40,000 draws.
  near(mean(draws(() => random.uniform())), 0.5, 0.008, 'uniform mean')
  const normals = draws(() => random.normal())
  near(mean(normals), 0, 0.025, 'normal mean')
  near(standardDeviation(normals), 1, 0.02, 'normal deviation')
  for (const shape of [0.3, 1, 4]) {
    const gammas = draws(() => random.gamma(shape))
    near(mean(gammas), shape, 0.025 * Math.sqrt(shape), `gamma(${shape}) mean`)
    near(standardDeviation(gammas), Math.sqrt(shape), 0.06 * Math.sqrt(shape), `gamma(${shape}) deviation`)
    t.ok(gammas.every(value => value >= 0 && value < Infinity))
  }
})

t.test('integers reach both ends and nothing else, and a shuffle loses nothing', async t => {
  const random = new RandomStream(3)
  const seen = new Set(Array.from({ length: 500 }, () => random.integer(-1, 2)))
  t.strictSame([...seen].sort((a, b) => a - b), [-1, 0, 1, 2])
  const shuffled = random.shuffled([1, 2, 3, 4, 5, 6, 7, 8])
  t.notSame(shuffled, [1, 2, 3, 4, 5, 6, 7, 8])
  t.strictSame(shuffled.toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8])
})
