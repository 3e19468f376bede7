import t from 'tap'
import { blockId } from '@daybreak/kvcache'
import { sharedPrefixes } from '../../packages/engine/src/shared-prefixes.ts'
import type { PrefixRow, PrefixRule, SharedPrefix } from '../../packages/engine/src/shared-prefixes.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'

const SEED = 20261130
const rule: PrefixRule = { blockSize: 16, unit: 16, leastMembers: 2, leastKeys: 16, rowsSaved: members => members - 1 }
let unique = 1000

/** A row whose blocks are these and so many of its own. */
function row (blocks: readonly number[], own = 1): PrefixRow {
  const table = [...blocks, ...Array.from({ length: own }, () => unique++)]
  return { table: table.map(blockId), blocks: table.length }
}

const run = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)
const savedBy = (prefixes: readonly SharedPrefix[]): number => prefixes.reduce((sum, { members, keys }) => sum + (members.length - 1) * keys, 0)

t.test('rows that share nothing are left alone, and so are fewer than it takes', async t => {
  t.strictSame(sharedPrefixes([], rule), [])
  t.strictSame(sharedPrefixes([row([1, 2])], rule), [])
  t.strictSame(sharedPrefixes([row([]), row([]), row([])], rule), [])
  t.strictSame(sharedPrefixes([row([1]), row([1])], { ...rule, leastMembers: 3 }), [])
  t.strictSame(sharedPrefixes([row([1]), row([1]), row([1])], { ...rule, leastMembers: 3 }), [{ members: [0, 1, 2], keys: 16 }])
})

t.test('single rows and a group of a four-prompt mix are told apart', async t => {
  t.strictSame(sharedPrefixes([row([]), row([1, 2, 3]), row([]), row([1, 2, 3])], rule), [{ members: [1, 3], keys: 48 }])
})

t.test('a prefix shorter than a block, or than keys that are worth sharing, is none', async t => {
  t.strictSame(sharedPrefixes([{ table: [blockId(1)], blocks: 0 }, { table: [blockId(1)], blocks: 0 }], rule), [], 'the one block is being written')
  const rows = [row(run(1, 7)), row(run(1, 7))]
  t.strictSame(sharedPrefixes(rows, { ...rule, leastKeys: 113 }), [])
  t.strictSame(sharedPrefixes(rows, { ...rule, leastKeys: 112 }), [{ members: [0, 1], keys: 112 }])
})

t.test('shared keys are rounded down to whole units, however large blocks are', async t => {
  const keys = (blockSize: number, blocks: number, unit: number): number | undefined => sharedPrefixes([row(run(1, blocks)), row(run(1, blocks))], { ...rule, blockSize, unit })[0]?.keys
  t.strictSame([[16, 8, 128], [16, 9, 128], [16, 7, 128], [24, 6, 128], [24, 11, 128], [1, 129, 32]].map(([size = 0, blocks = 0, unit = 0]) => keys(size, blocks, unit)), [128, 128, undefined, 128, 256, 128])
})

t.test('duplicates share all but what each writes, and one that ends in another\'s prefix shares its own length', async t => {
  const same = run(1, 5).map(blockId)
  t.strictSame(sharedPrefixes([{ table: same, blocks: 4 }, { table: same, blocks: 4 }, { table: same, blocks: 4 }], rule), [{ members: [0, 1, 2], keys: 64 }])
  t.strictSame(sharedPrefixes([{ table: same, blocks: 5 }, { table: same.slice(0, 3), blocks: 2 }], rule), [{ members: [0, 1], keys: 32 }])
})

t.test('a block at another place, or behind another block, is not shared', async t => {
  t.strictSame(sharedPrefixes([row([1, 2, 3]), row([2, 2, 3]), row([3, 1, 2])], rule), [])
  t.strictSame(sharedPrefixes([row([1, 2, 3]), row([1, 9, 3])], rule), [{ members: [0, 1], keys: 16 }])
})

t.test('two groups stay two, members in their order', async t => {
  t.strictSame(sharedPrefixes([row([1, 2]), row([5, 6, 7]), row([1, 2]), row([5, 6, 7]), row([1, 2])], rule), [{ members: [0, 2, 4], keys: 32 }, { members: [1, 3], keys: 48 }])
})

t.test('of nested prefixes those are chosen that save most', async t => {
  const system = run(1, 2)
  const document = (n: number): number[] => [...system, ...run(100 * n, 20)]
  t.strictSame(sharedPrefixes([document(1), document(2), document(1), document(2)].map(blocks => row(blocks)), rule),
    [{ members: [0, 2], keys: 352 }, { members: [1, 3], keys: 352 }], 'two long documents rather than one short beginning')
  t.strictSame(sharedPrefixes([[...run(1, 30), 50], [...run(1, 30), 50], [...run(1, 30), 60], [...run(1, 30), 60]].map(blocks => row(blocks)), rule),
    [{ members: [0, 1, 2, 3], keys: 480 }], 'one long beginning rather than two that are hardly longer')
  t.strictSame(sharedPrefixes([row(document(1)), row(system), row(document(1)), row(system), row(system)], rule),
    [{ members: [0, 2], keys: 352 }, { members: [1, 3, 4], keys: 32 }], 'what leaves for more leaves the others behind')
})

t.test('pairs that are no gain do not keep everybody from sharing what all of them have', async t => {
  const costly: PrefixRule = { ...rule, leastMembers: 4, rowsSaved: members => members - 3 }
  const pairs = Array.from({ length: 8 }, (_, i) => row([...run(1, 10), ...run(100 + 100 * Math.floor(i / 2), 30)]))
  t.strictSame(sharedPrefixes(pairs, rule).map(({ members }) => members.length), [2, 2, 2, 2], 'where two are a gain they share all that they have')
  t.strictSame(sharedPrefixes(pairs, costly), [{ members: run(0, 8), keys: 160 }])
  const fours = Array.from({ length: 8 }, (_, i) => row([...run(1, 10), ...run(100 + 100 * Math.floor(i / 4), 80)]))
  t.strictSame(sharedPrefixes(fours, costly).map(({ members, keys }) => [members.length, keys]), [[4, 1440], [4, 1440]], 'one row of each of two documents outweighs five of what all share')
  t.strictSame(sharedPrefixes(fours.slice(0, 3), costly), [], 'three are none')
})

t.test(`random tables: what is shared is shared, nobody twice, and no less is saved than by any one level (seed ${SEED})`, async t => {
  const random = new SeededRandom(SEED)
  for (let round = 0; round < 300; round++) {
    const depth = random.between(1, 6)
    const rows = Array.from({ length: random.between(1, 12) }, () => row(Array.from({ length: random.integer(depth + 1) }, () => random.integer(3)), random.integer(3)))
    const prefixes = sharedPrefixes(rows, rule)
    const members = prefixes.flatMap(prefix => prefix.members)
    t.equal(new Set(members).size, members.length)
    for (const { members: [first = 0, ...others], keys } of prefixes) {
      const blocks = keys / 16
      for (const other of others) t.strictSame(rows[other]?.table.slice(0, blocks), rows[first]?.table.slice(0, blocks))
      for (const member of [first, ...others]) t.ok(blocks <= (rows[member]?.blocks ?? 0))
    }
    for (let level = 1; level <= depth; level++) {
      const byPrefix = new Map<string, number>()
      for (const { table, blocks } of rows) if (blocks >= level) byPrefix.set(table.slice(0, level).join(), (byPrefix.get(table.slice(0, level).join()) ?? 0) + 1)
      t.ok(savedBy(prefixes) >= [...byPrefix.values()].reduce((sum, count) => sum + (count - 1) * level * 16, 0), `round ${round}, level ${level}`)
    }
  }
})
