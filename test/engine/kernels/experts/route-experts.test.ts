import type { Test } from 'tap'
import type { StorageType } from '../../../../packages/engine/src/engine.ts'
import { routeExperts, routeLogits } from '../../../../packages/engine/src/kernels/experts/expert-kernels.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { routeExperts as reference } from '../../../reference/expert-mlp.ts'
import type { RoutingRule } from '../../../reference/expert-mlp.ts'
import { stored } from '../../../reference/float16.ts'
import { matmul } from '../../../reference/matmul.ts'
import { F32_ROUNDING, assertClose, assertSameBits } from '../assert-close.ts'
import { GpuHarness, POISON, gpuTest } from '../gpu-harness.ts'
import { countedTokens } from '../step-records.ts'

const SEED = 20261121
const withSubgroups = await GpuHarness.open()
const withoutSubgroups = await GpuHarness.open({ without: ['subgroups'] })

interface Case extends RoutingRule {
  readonly hiddenSize: number
  readonly threads: number
  readonly activation: StorageType
}

/** With `singles`, pairs and tiles are written too. */
interface Routed { readonly chosen: Uint32Array, readonly shareBits: Uint32Array, readonly share: Float64Array, readonly pairs: Uint32Array, readonly tiles: Uint32Array }

async function route (gpu: GpuHarness, x: Float64Array, router: Float64Array, { numExperts, expertsPerToken, normalizeTopK, hiddenSize, threads, activation }: Case, singles = false): Promise<Routed> {
  const tokens = x.length / hiddenSize
  const length = tokens * expertsPerToken
  const chosen = await gpu.poisoned(length, 'u32')
  const share = await gpu.poisoned(length, 'f32')
  const pairs = await gpu.poisoned(length, 'u32')
  const tiles = await gpu.poisoned(4 + 4 * length, 'u32')
  const logits = await gpu.poisoned(tokens * numExperts, 'f32')
  const step = await gpu.step({ tokens: countedTokens(tokens) })
  await gpu.run(routeLogits, {
    activation,
    overrides: { HIDDEN_SIZE: hiddenSize, NUM_EXPERTS: numExperts },
    buffers: { x: await gpu.upload(x, activation), router: await gpu.upload(router, 'f32'), step, logits },
    grid: [Math.ceil(numExperts / 4), Math.ceil(tokens / 4) + 1, 1]
  })
  await gpu.run(routeExperts, {
    activation,
    overrides: { NUM_EXPERTS: numExperts, TOP_K: expertsPerToken, NORMALIZE: normalizeTopK ? 1 : 0, SINGLES: singles ? 1 : 0, THREADS: threads },
    buffers: { logits, step, chosen, share, pairs, tiles },
    grid: [tokens + 1, 1, 1]
  })
  await gpu.bits(logits, tokens * numExperts, 'f32')
  return {
    chosen: await gpu.bits(chosen, length, 'u32'),
    shareBits: await gpu.bits(share, length, 'f32'),
    share: await gpu.download(share, length, 'f32'),
    pairs: await gpu.bits(pairs, length, 'u32'),
    tiles: await gpu.bits(tiles, 4 + 4 * length, 'u32')
  }
}

/** Experts and shares are the reference's. Two experts may change places where f32 cannot tell their logits apart. */
function assertRouting (t: Test, routed: Routed, x: Float64Array, router: Float64Array, given: Case, message: string): void {
  const { hiddenSize, numExperts, expertsPerToken } = given
  const expected = reference(x, router, hiddenSize, given)
  const magnitude = matmul(x.map(Math.abs), router.map(Math.abs), hiddenSize)
  // A chain of fma a lane, then 64 sums.
  const logitError = (at: number): number => (hiddenSize / 64 + 68) * F32_ROUNDING * (magnitude[at] ?? NaN)
  const wrong = [...routed.chosen].findIndex((expert, pair) => {
    const row = Math.floor(pair / expertsPerToken) * numExperts
    const wanted = row + (expected.chosen[pair] ?? 0)
    return !(expert < numExperts && Math.abs((expected.logits[row + expert] ?? NaN) - (expected.logits[wanted] ?? NaN)) <= logitError(wanted) + logitError(row + expert))
  })
  t.equal(wrong, -1, `${message}: the most likely experts in order`)
  const rows = Array.from({ length: routed.chosen.length / expertsPerToken }, (_, i) => routed.chosen.subarray(i * expertsPerToken, (i + 1) * expertsPerToken))
  t.ok(rows.every(row => new Set(row).size === expertsPerToken), `${message}: a token's experts differ`)
  assertClose(t, routed.share, expected.share, pair => {
    const row = Math.floor(pair / expertsPerToken) * numExperts
    const worst = Math.max(...Array.from({ length: numExperts }, (_, e) => logitError(row + e)))
    const spread = Math.max(...expected.logits.subarray(row, row + numExperts)) - Math.min(...expected.logits.subarray(row, row + numExperts))
    // e^δ − 1 for the logits of both sides of each quotient; exp is good to 3 + 2|x| ulp, sums and quotients follow.
    return (expected.share[pair] ?? NaN) * (4 * worst + (numExperts + 8 * spread + 64) * F32_ROUNDING) + 1e-30
  }, message)
}

// Experts at both sides of a workgroup's four and of its threads, tokens of its four; hidden sizes at both sides of a team's 64 vectors.
const cases: Array<Case & { readonly tokens: number }> = [
  { numExperts: 4, expertsPerToken: 1, normalizeTopK: false, hiddenSize: 4, threads: 64, activation: 'f32', tokens: 3 },
  { numExperts: 8, expertsPerToken: 2, normalizeTopK: true, hiddenSize: 256, threads: 64, activation: 'f32', tokens: 33 },
  { numExperts: 60, expertsPerToken: 4, normalizeTopK: false, hiddenSize: 260, threads: 128, activation: 'f16', tokens: 9 },
  { numExperts: 128, expertsPerToken: 8, normalizeTopK: true, hiddenSize: 252, threads: 64, activation: 'f32', tokens: 17 },
  { numExperts: 33, expertsPerToken: 8, normalizeTopK: false, hiddenSize: 384, threads: 32, activation: 'f32', tokens: 5 },
  { numExperts: 256, expertsPerToken: 16, normalizeTopK: true, hiddenSize: 68, threads: 256, activation: 'f32', tokens: 4 }
]

for (const [subgroups, gpu] of [['with', withSubgroups], ['without', withoutSubgroups]] as const) {
  gpuTest(`route_experts ${subgroups} subgroups equals the reference`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    for (const given of cases) {
      const x = stored(random.normals(given.tokens * given.hiddenSize), given.activation)
      const router = stored(random.normals(given.numExperts * given.hiddenSize, 2 / Math.sqrt(given.hiddenSize)), 'f32')
      assertRouting(t, await route(gpu, x, router, given), x, router, given, `${given.expertsPerToken} of ${given.numExperts} experts, hidden size ${given.hiddenSize}, ${given.activation}`)
    }
  })

  gpuTest(`route_experts ${subgroups} subgroups takes the lower of equally likely experts`, gpu, async (t, gpu) => {
    const given: Case = { numExperts: 8, expertsPerToken: 4, normalizeTopK: true, hiddenSize: 4, threads: 64, activation: 'f32' }
    // Logits are the router's column times ±1 (token 2: zeros, token 3: zeros of both signs).
    const column = [1, 3, 1, 3, 3, -2, 3, -2]
    const router = Float64Array.from(column.flatMap(value => [value, 0, 0, 0]))
    const x = Float64Array.from([1, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, -0, -0, -0, -0])
    const { chosen, share } = await route(gpu, x, router, given)
    t.strictSame([...chosen], [1, 3, 4, 6, 5, 7, 0, 2, 0, 1, 2, 3, 0, 1, 2, 3])
    assertClose(t, share, reference(x, router, 4, given).share, () => 32 * F32_ROUNDING, 'shares')
  })

  gpuTest(`route_experts ${subgroups} subgroups gives a token the same bits alone, and beside a row of NaN`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const given = { numExperts: 60, expertsPerToken: 4, normalizeTopK: true, hiddenSize: 260, threads: 64, activation: 'f32' } as const
    const x = stored(random.normals(5 * 260), 'f32')
    x.fill(NaN, 2 * 260, 3 * 260)
    const router = stored(random.normals(60 * 260, 0.2), 'f32')
    const all = await route(gpu, x, router, given)
    t.strictSame(new Set(all.chosen.subarray(8, 12)).size, 4, 'NaN chooses as many different experts')
    t.ok(all.chosen.subarray(8, 12).every(expert => expert < 60), 'that exist')
    for (const token of [0, 1, 3, 4]) {
      const alone = await route(gpu, x.slice(token * 260, (token + 1) * 260), router, given)
      assertSameBits(t, alone.chosen, all.chosen.subarray(token * 4, (token + 1) * 4), `experts of token ${token}`)
      assertSameBits(t, alone.shareBits, all.shareBits.subarray(token * 4, (token + 1) * 4), `shares of token ${token}`)
    }
  })
}

gpuTest('route_experts makes a tile of every pair where tiles have one row, and leaves tiles alone otherwise', withSubgroups, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const given = { numExperts: 8, expertsPerToken: 2, normalizeTopK: true, hiddenSize: 128, threads: 64, activation: 'f32' } as const
  const x = stored(random.normals(3 * 128), 'f32')
  const router = stored(random.normals(8 * 128, 0.2), 'f32')
  const { chosen, pairs, tiles } = await route(gpu, x, router, given, true)
  t.strictSame([...pairs], [0, 1, 2, 3, 4, 5])
  t.strictSame([...tiles], [6, 0, 0, 0, ...[...chosen].flatMap((expert, pair) => [expert, pair, 1, 0])])
  const without = await route(gpu, x, router, given)
  t.ok([...without.pairs, ...without.tiles].every(word => word === POISON))
  assertSameBits(t, without.chosen, chosen, 'experts')
})
