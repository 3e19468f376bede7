import t from 'tap'
import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardSequence } from '@daybreak/engine/contract'
import { arrangeSingles } from '../../packages/engine/src/single-rows.ts'
import type { GroupLayout, SingleLayout } from '../../packages/engine/src/single-rows.ts'

const BLOCK_SIZE = 16
let unique = 1000

/** A sequence that computes the last token of `context`, its first blocks these and the others its own. */
function decode (blocks: readonly number[], context: number, change: Partial<ForwardSequence> = {}): ForwardSequence {
  const own = Math.ceil(context / BLOCK_SIZE) - blocks.length
  return {
    id: sequenceId(`${unique}`),
    stateRow: 0,
    tokens: undefined,
    startPosition: context - 1,
    blockTable: [...blocks, ...Array.from({ length: own }, () => unique++)].map(blockId),
    sampling: undefined,
    history: undefined,
    scoreTargets: undefined,
    numScoreLogprobs: undefined,
    ...change
  }
}

const run = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)
const everywhere = [{ window: Infinity, share: 1 }]
const groups: GroupLayout = { sizes: [2, 4, 8], unit: 32, leastMembers: 2, leastKeys: 32, leastSavedKeys: 0, rowsSaved: members => members - 1, windows: everywhere, partKeys: () => 64 }
const layout: SingleLayout = { split: () => ({ keys: 32, subgroups: 1 }), partialSplits: 1000, groups }
const arrange = (sequences: readonly ForwardSequence[], change: Partial<GroupLayout> = {}, rest: Partial<SingleLayout> = {}): ReturnType<typeof arrangeSingles> =>
  arrangeSingles(sequences, { ...layout, groups: { ...groups, ...change }, ...rest }, BLOCK_SIZE)

t.test('of four prompts, the two that begin alike go first and attend their prefix together, part by part', async t => {
  const { rows, groups: found, count, splits, groupSize, groupKeys } = arrange([decode([], 40), decode(run(1, 10), 161), decode([], 70), decode(run(1, 10), 240)])
  t.strictSame(found, [{ first: 0, count: 2, keys: 160 }])
  t.strictSame([count, splits, groupSize, groupKeys], [4, 3, 2, 64])
  // Three parts of the prefix; one own key and 80 in splits of 32.
  t.strictSame(rows, [{ place: 2, prefix: 0, partial: 10 }, { place: 0, prefix: 160, partial: 0 }, { place: 3, prefix: 0, partial: 12 }, { place: 1, prefix: 160, partial: 4 }])
})

t.test('chunks of prompts are in no group, a lone token of a prompt is', async t => {
  const chunk = decode(run(1, 10), 170, { tokens: [1, 2], startPosition: 168 })
  const { rows, groups: found } = arrange([chunk, decode(run(1, 10), 170, { tokens: [3] }), decode(run(1, 10), 180)])
  t.strictSame(found, [{ first: 0, count: 2, keys: 160 }])
  t.strictSame(rows.map(row => row?.place), [undefined, 0, 1])
})

t.test('the block that a row writes is not shared, though another row has it whole', async t => {
  const both = run(1, 4)
  t.strictSame(arrange([decode(both, 64), decode(both, 65)]).groups, [{ first: 0, count: 2, keys: 32 }], 'three whole blocks, of which two are a unit')
  t.strictSame(arrange([decode(both, 65), decode(both, 65)]).groups, [{ first: 0, count: 2, keys: 64 }])
  t.strictSame(arrange([decode(both.slice(0, 1), 16), decode(both.slice(0, 1), 16)], { unit: 16, leastKeys: 16 }).groups, [], 'a prefix shorter than a block')
})

t.test('a group is cut into workgroups of whole tiles, as few and as equal as can be, of the smallest size that holds it', async t => {
  const cut = (...sizes: readonly number[]): unknown => {
    const { groups: found, groupSize } = arrange(sizes.flatMap((size, n) => Array.from({ length: size }, () => decode(run(100 * (n + 1), 4), 65))))
    return [groupSize, ...found.map(({ count }) => count)]
  }
  t.strictSame(cut(2), [2, 2])
  t.strictSame(cut(3), [4, 3])
  t.strictSame(cut(8), [8, 8])
  t.strictSame(cut(9), [8, 4, 5])
  t.strictSame(cut(20), [8, 6, 6, 8])
  t.strictSame(cut(2, 5), [8, 2, 5], 'one size for the whole step')
})

t.test('splits are chosen by own keys, and parts of prefixes by what each workgroup\'s group has', async t => {
  const asked: unknown[] = []
  arrange([...Array.from({ length: 3 }, () => decode(run(1, 20), 330)), decode([], 50)], { sizes: [2], partKeys: (size, prefixes) => { asked.push([size, ...prefixes]); return 64 } }, { split: (singles, longest) => { asked.push([singles, longest]); return { keys: 32, subgroups: 1 } } })
  t.strictSame(asked, [[2, 320, 320], [4, 50]])
})

t.test('groups that find no room for their partial results are attended apart', async t => {
  const sequences = [decode(run(1, 4), 65), decode(run(1, 4), 65), decode(run(50, 4), 65), decode(run(50, 4), 65)]
  // Two of each member together, three apart.
  const found = (partialSplits: number): unknown => {
    const { rows, groups: found } = arrange(sequences, {}, { partialSplits })
    return [found.length, ...rows.map(row => row?.partial)]
  }
  t.strictSame(found(8), [2, 0, 2, 4, 6])
  t.strictSame(found(7), [1, 0, 2, 4, undefined])
  t.strictSame(found(4), [1, 0, 2, undefined, undefined])
  t.strictSame(found(3), [0, 0, undefined, undefined, undefined])
})

t.test('so little that a dispatch would cost more is not shared', async t => {
  const sequences = Array.from({ length: 3 }, () => decode(run(1, 10), 200))
  t.equal(arrange(sequences, { leastSavedKeys: 320 }).groups.length, 1)
  t.equal(arrange(sequences, { leastSavedKeys: 321 }).groups.length, 0)
  // A window of 100 sees keys from 100 on, 60 of the prefix, in every other layer; one of 20 none.
  t.equal(arrange(sequences, { leastSavedKeys: 220, windows: [{ window: 100, share: 0.5 }, { window: Infinity, share: 0.5 }] }).groups.length, 1)
  t.equal(arrange(sequences, { leastSavedKeys: 221, windows: [{ window: 100, share: 0.5 }, { window: Infinity, share: 0.5 }] }).groups.length, 0)
  t.equal(arrange(sequences, { leastSavedKeys: 1, windows: [{ window: 20, share: 1 }] }).groups.length, 0)
})

t.test('a group saves so many rows of its keys as its kernel is faster by, and none is made where that is no row', async t => {
  const sequences = [...Array.from({ length: 3 }, () => decode(run(1, 10), 200)), ...Array.from({ length: 2 }, () => decode(run(20, 10), 200))]
  const found = (change: Partial<GroupLayout>): number[] => arrange(sequences, change).groups.map(({ count }) => count)
  t.strictSame(found({ rowsSaved: members => members - 2 }), [3], 'two rows save none')
  t.strictSame(found({ rowsSaved: members => members - 1.5, leastSavedKeys: 160 * (1.5 + 0.5) }), [3, 2])
  t.strictSame(found({ rowsSaved: members => members - 1.5, leastSavedKeys: 160 * (1.5 + 0.5) + 1 }), [])
})

t.test('without a layout for groups every row stands in its order with all of its keys', async t => {
  const sequences = [decode(run(1, 4), 65), decode(run(1, 4), 65)]
  const { rows, groups: found, groupSize } = arrangeSingles(sequences, { ...layout, groups: undefined }, BLOCK_SIZE)
  t.strictSame([found, groupSize], [[], 0])
  t.strictSame(rows, [{ place: 0, prefix: 0, partial: 0 }, { place: 1, prefix: 0, partial: 3 }])
})
