import { groupExperts } from '../../../../packages/engine/src/kernels/experts/expert-kernels.ts'
import { maxExpertTiles } from '../../../../packages/engine/src/kernels/experts/expert-variants.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { GpuHarness, POISON, gpuTest } from '../gpu-harness.ts'
import { countedTokens } from '../step-records.ts'
import { groupedPairs, tileWords } from './grouped-pairs.ts'

const SEED = 20261122
const gpu = await GpuHarness.open()

interface Case { readonly numExperts: number, readonly expertsPerToken: number, readonly rows: number, readonly threads: number }

/** Pairs and tiles after one dispatch, each with room for what the layer allocates. */
async function group (gpu: GpuHarness, chosen: readonly number[], { numExperts, expertsPerToken, rows, threads }: Case): Promise<{ pairs: number[], tiles: number[] }> {
  const tokens = chosen.length / expertsPerToken
  const config = { numExperts, expertsPerToken, hiddenSize: 4, intermediateSize: 4, normalizeTopK: true, activation: 'silu' } as const
  const tileLength = 4 * (1 + maxExpertTiles(tokens, rows, config))
  const pairs = await gpu.poisoned(chosen.length, 'u32')
  const tiles = await gpu.poisoned(tileLength, 'u32')
  await gpu.run(groupExperts, {
    overrides: { NUM_EXPERTS: numExperts, TOP_K: expertsPerToken, TILE_ROWS: rows, THREADS: threads },
    buffers: { chosen: await gpu.upload(chosen, 'u32'), step: await gpu.step({ tokens: countedTokens(tokens) }), pairs, tiles },
    grid: [numExperts, 1, 1]
  })
  const written = [...await gpu.bits(tiles, tileLength, 'u32')]
  const end = written.indexOf(POISON)
  return { pairs: [...await gpu.bits(pairs, chosen.length, 'u32')], tiles: end === -1 ? written : written.slice(0, end) }
}

for (const given of [
  { numExperts: 4, expertsPerToken: 1, rows: 1, threads: 32 },
  { numExperts: 8, expertsPerToken: 2, rows: 4, threads: 32 },
  { numExperts: 60, expertsPerToken: 4, rows: 4, threads: 256 },
  { numExperts: 128, expertsPerToken: 8, rows: 16, threads: 32 },
  { numExperts: 256, expertsPerToken: 16, rows: 2, threads: 64 }
] as const) {
  const { numExperts, expertsPerToken, rows, threads } = given
  const sizes = `${expertsPerToken} of ${numExperts} experts, tiles of ${rows}`

  gpuTest(`group_experts sorts pairs by expert and cuts tiles: ${sizes}`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const experts = Array.from({ length: numExperts }, (_, e) => e)
    // Both sides of a tile, and of a pair for each thread.
    for (const tokens of new Set([0, 1, rows - 1, rows, rows + 1, Math.floor(threads / expertsPerToken), Math.floor(threads / expertsPerToken) + 1, 100])) {
      const chosen = Array.from({ length: tokens }, () => random.shuffled(experts).slice(0, expertsPerToken)).flat()
      const expected = groupedPairs(chosen, numExperts, rows)
      const actual = await group(gpu, chosen, given)
      t.strictSame(actual.pairs, expected.pairs, `pairs of ${tokens} tokens`)
      t.strictSame(actual.tiles, tileWords(expected.tiles), `tiles of ${tokens} tokens`)
    }
  })

  gpuTest(`group_experts leaves no tile to experts without tokens, and room for all tokens at the same ones: ${sizes}`, gpu, async (t, gpu) => {
    const last = Array.from({ length: expertsPerToken }, (_, i) => numExperts - 1 - i)
    for (const tokens of [rows - 1, rows, rows + 1, 37]) {
      const chosen = Array.from({ length: tokens }, () => last).flat()
      const expected = groupedPairs(chosen, numExperts, rows)
      const actual = await group(gpu, chosen, given)
      t.strictSame(actual.pairs, expected.pairs, `pairs of ${tokens} tokens`)
      t.strictSame(actual.tiles, tileWords(expected.tiles), `tiles of ${tokens} tokens`)
    }
  })
}
