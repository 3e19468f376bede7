import t from 'tap'
import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch, ForwardSequence, RunnerLimits } from '@daybreak/engine/contract'
import { InvalidBatchError } from '@daybreak/engine'
import { StepPacker, usesPenalties } from '../../../packages/engine/src/step-inputs.ts'
import { attentionSplit } from '../../../packages/engine/src/kernels/attention/attention-order.ts'
import { DEVICE_TOKEN, bitsOf } from '../kernels/step-records.ts'
import { greedy } from './sequence-driver.ts'

const limits: RunnerLimits = { maxBatchedTokens: 1000, maxSequences: 4, maxLogitRows: 8, maxModelLen: 2000, numKVBlocks: 500, blockSize: 4, vocabSize: 100 }
const layout = { tileTokens: 4, split: () => ({ keys: 128, subgroups: 1 }), partialSplits: 6, groups: undefined }

function aSequence (change: Partial<ForwardSequence> = {}): ForwardSequence {
  return {
    id: sequenceId('s'),
    stateRow: 0,
    tokens: [5],
    startPosition: 0,
    blockTable: [7, 3, 9].map(blockId),
    sampling: greedy,
    history: undefined,
    scoreTargets: undefined,
    numScoreLogprobs: undefined,
    ...change
  }
}

const aBatch = (...sequences: ForwardSequence[]): ForwardBatch => ({ step: 3, sequences, moves: [] })
const blocks = (count: number): ForwardSequence['blockTable'] => Array.from({ length: count }, (_, i) => blockId((i * 7) % limits.numKVBlocks))

/** Words by the letter of wgsl/step_inputs.wgsl: where places of token and single records begin and how far apart they are, and two sizes in the header. */
const [FIRST_PLACE, PLACE, GROUP_KEYS, SPLIT_KEYS] = [12, 12, 8, 10]

/** The step buffer read back. `table` takes a word index of a record. */
function unpack (words: Uint32Array): { tokens: number[][], singles: number[][], groups: number[][], tiles: number[][], rows: number[][], table: (at: number) => number | undefined, bias: (at: number) => number | undefined } {
  const [tokens = 0, singles = 0, tiles = 0, rows = 0, groups = 0, groupsAt = 0, tilesAt = 0, rowsAt = 0, , biasAt = 0] = words
  const records = (first: number, count: number, size: number, pitch = size): number[][] => Array.from({ length: count }, (_, i) => [...words.slice(first + pitch * i, first + pitch * i + size)])
  return {
    tokens: records(FIRST_PLACE, tokens, 4, PLACE),
    singles: records(FIRST_PLACE + 4, singles, 8, PLACE),
    groups: records(4 * groupsAt, groups, 4),
    tiles: records(4 * tilesAt, tiles, 4),
    rows: records(4 * rowsAt, rows, 16),
    table: at => words[at],
    bias: at => words[biasAt + at]
  }
}

t.test('a chunk and a decode lie side by side: tokens with their slots, a tile per four query tokens, one single', async t => {
  const { shape, words } = new StepPacker(limits, layout).pack(aBatch(
    aSequence({ stateRow: 2, tokens: [10, 11, 12, 13, 14, 15], startPosition: 3, sampling: undefined }),
    aSequence({ id: sequenceId('d'), stateRow: 1, tokens: undefined, startPosition: 9, blockTable: [1, 2, 4].map(blockId) })
  ))
  t.strictSame(shape, { tokens: 7, singles: 1, splits: 1, splitSubgroups: 1, groups: 0, groupSize: 0, tiles: 2, logitRows: 1, fewKeys: 0 })
  const { tokens, singles, tiles, rows, table } = unpack(words)
  t.strictSame(tokens, [
    [10, 2, 3, 7 * 4 + 3], [11, 2, 4, 3 * 4], [12, 2, 5, 3 * 4 + 1], [13, 2, 6, 3 * 4 + 2], [14, 2, 7, 3 * 4 + 3], [15, 2, 8, 9 * 4],
    [DEVICE_TOKEN, 1, 9, 4 * 4 + 1]
  ])
  const chunkTable = tiles[0]?.[2] ?? NaN
  t.strictSame(tiles, [[0, 4, chunkTable, 3], [4, 2, chunkTable, 7]])
  t.strictSame([0, 1, 2].map(i => table(chunkTable + i)), [7, 3, 9])
  const [[tokenRow, tableAt = NaN, context, partial] = []] = singles
  t.strictSame([tokenRow, context, partial], [6, 10, 0])
  t.strictSame([0, 1, 2].map(i => table(tableAt + i)), [1, 2, 4])
  t.strictSame(rows.map(row => row.slice(0, 4)), [[6, 1, 0, 0]], 'the last token of the sampled sequence')
})

t.test('a logit row carries every sampling parameter, its position and its biases', async t => {
  const sampling = {
    temperature: 0.5, topK: 7, topP: 0.25, minP: 0.125, seed: 0xdeadbeef, presencePenalty: 1.5, frequencyPenalty: -0.5, repetitionPenalty: 1.25, logitBias: [[3, -2.5], [99, 4]] as const, numLogprobs: 5
  }
  const first = aSequence({ stateRow: 3, tokens: [1, 2], sampling: { ...greedy, logitBias: [[1, 1]] } })
  const second = aSequence({ id: sequenceId('b'), stateRow: 1, tokens: [4, 5, 6], startPosition: 1, sampling })
  const { rows, bias } = unpack(new StepPacker(limits, layout).pack(aBatch(first, second)).words)
  t.strictSame(rows[1], [
    4, 1, 2 | 4, 0,
    bitsOf(0.5), bitsOf(0.25), bitsOf(0.125), 2,
    bitsOf(1.5), bitsOf(-0.5), bitsOf(1.25), 2,
    0xdeadbeef, 4, 7, 5
  ])
  t.strictSame([0, 1, 2, 3, 4, 5].map(bias), [1, bitsOf(1), 3, bitsOf(-2.5), 99, bitsOf(4)])
  t.strictSame([0, 1, undefined].map(numLogprobs => unpack(new StepPacker(limits, layout).pack(aBatch(aSequence({ sampling: { ...greedy, numLogprobs } }))).words).rows[0]?.slice(2, 3)),
    [[4], [4], [0]], 'zero alternatives still ask for the logprob')
})

t.test('score rows come before the sample, one per target, on the row of the token before it', async t => {
  const { rows } = unpack(new StepPacker(limits, layout).pack(aBatch(
    aSequence({ tokens: [1], sampling: undefined }),
    aSequence({ id: sequenceId('b'), stateRow: 1, tokens: [4, 5, 6], scoreTargets: [5, 6], numScoreLogprobs: 3 })
  )).words)
  t.strictSame(rows.map(row => [...row.slice(0, 4), row[15]]), [[1, 1, 1 | 4, 5, 3], [2, 1, 1 | 4, 6, 3], [3, 1, 0, 0, 0]])
})

t.test('lone tokens beyond the room for partial results become tiles', async t => {
  const long = (name: string, context: number): ForwardSequence =>
    aSequence({ id: sequenceId(name), stateRow: Number(name), tokens: [1], startPosition: context - 1, blockTable: blocks(Math.ceil(context / 4)) })
  const splits = (context: number): number => Math.ceil(context / attentionSplit)
  const contexts = [2 * attentionSplit, 2 * attentionSplit + 1, attentionSplit, 1]
  t.same(contexts.map(splits), [2, 3, 1, 1])
  const { shape, words } = new StepPacker(limits, layout).pack(aBatch(...contexts.map((context, i) => long(String(i), context))))
  t.strictSame(shape, { tokens: 4, singles: 3, splits: 3, splitSubgroups: 1, groups: 0, groupSize: 0, tiles: 1, logitRows: 4, fewKeys: 0 })
  const { singles, tiles } = unpack(words)
  t.strictSame(singles.map(([row, , context, partial]) => [row, context, partial]), [[0, contexts[0], 0], [1, contexts[1], 2], [2, contexts[2], 5]])
  t.strictSame(tiles.map(([row, count, , start]) => [row, count, start]), [[3, 1, 0]])
})

t.test('the batch chooses the keys of a split once, by its lone tokens and the longest of their contexts', async t => {
  const asked: Array<readonly [number, number]> = []
  const packer = new StepPacker(limits, { ...layout, partialSplits: 12, split: (singles, longest) => { asked.push([singles, longest]); return { keys: 32 * singles, subgroups: singles } } })
  const lone = (row: number, context: number, change: Partial<ForwardSequence> = {}): ForwardSequence =>
    aSequence({ id: sequenceId(`${row}`), stateRow: row, tokens: undefined, startPosition: context - 1, blockTable: blocks(Math.ceil(context / 4)), ...change })
  // The chunk is longer than any; a lone token of a prompt counts like one that is decoded.
  const chunk = lone(2, 500, { tokens: [1, 2], startPosition: 498 })
  const { shape, words } = packer.pack(aBatch(lone(0, 64), chunk, lone(1, 65, { tokens: [3] }), lone(3, 129)))
  t.strictSame(asked, [[3, 129]])
  t.equal(words[SPLIT_KEYS], 96, 'in the header')
  const { singles } = unpack(words)
  t.strictSame(singles.map(([row, , context, partial]) => [row, context, partial]), [[0, 64, 0], [3, 65, 1], [4, 129, 2]], 'records count splits of 96 keys')
  t.strictSame(shape, { tokens: 5, singles: 3, splits: 2, splitSubgroups: 3, groups: 0, groupSize: 0, tiles: 1, logitRows: 4, fewKeys: 0 })
})

const grouping = { sizes: [2, 4], unit: 8, leastMembers: 2, leastKeys: 8, leastSavedKeys: 0, rowsSaved: (members: number) => members - 1, windows: [{ window: Infinity, share: 1 }], partKeys: () => 16 }

t.test('decodes that begin with the same blocks stand first, and each part of their prefix is a record', async t => {
  const decode = (row: number, table: readonly number[], context: number): ForwardSequence =>
    aSequence({ id: sequenceId(`${row}`), stateRow: row, tokens: undefined, startPosition: context - 1, blockTable: table.map(blockId) })
  const beginning = Array.from({ length: 10 }, (_, i) => 100 + i)
  const packer = new StepPacker(limits, { ...layout, split: () => ({ keys: 32, subgroups: 1 }), partialSplits: 100, groups: grouping })
  const { shape, words } = packer.pack(aBatch(
    decode(0, [1, 2], 8), aSequence({ id: sequenceId('chunk'), stateRow: 1, tokens: [3, 4], startPosition: 0, blockTable: [blockId(9)] }),
    decode(2, [...beginning, 11], 41), decode(3, [...beginning, 12, 13], 46)
  ))
  t.strictSame(shape, { tokens: 5, singles: 3, splits: 1, splitSubgroups: 1, groups: 3, groupSize: 2, tiles: 1, logitRows: 4, fewKeys: 0 })
  t.equal(words[GROUP_KEYS], 16, 'keys of a part, in the header')
  const { singles, groups, tiles, table } = unpack(words)
  t.strictSame(groups, [[0, 2, 0, 16], [0, 2, 16, 32], [0, 2, 32, 40]])
  t.strictSame(singles.map(([row, , context, partial, prefix]) => [row, context, partial, prefix]), [[3, 41, 0, 40], [4, 46, 4, 40], [0, 8, 8, 0]], 'three parts and a split each')
  t.strictSame(singles.slice(0, 2).map(([, at = NaN]) => [0, 9, 10].map(i => table(at + i))), [[100, 109, 11], [100, 109, 12]], 'each with its whole table')
  const [[row, count, chunkTable = NaN, position] = []] = tiles
  t.strictSame([row, count, table(chunkTable), position], [1, 2, 9, 0])
})

t.test('grids are rounded up, so that few steps are recorded anew as sequences grow', async t => {
  const packer = new StepPacker(limits, { ...layout, partialSplits: 1000, split: () => ({ keys: 16, subgroups: 1 }), groups: grouping })
  const shapes = new Set<string>()
  for (let context = 400; context < 1900; context++) {
    const { shape } = packer.pack(aBatch(aSequence({ tokens: [1], startPosition: context - 1, blockTable: blocks(Math.ceil(context / 4)) })))
    t.ok(shape.splits >= Math.ceil(context / 16) && shape.splits <= Math.ceil(context / 16) * 1.25, `${context}: ${shape.splits}`)
    shapes.add(JSON.stringify(shape))
  }
  t.ok(shapes.size <= 12, `${shapes.size} shapes of 1,500 contexts`)
})

t.test('every table is in every step, as far as it is used, and a row\'s new one is looked at as its first was', async t => {
  const packer = new StepPacker(limits, layout)
  const decode = (context: number, table: readonly number[]): ForwardSequence => aSequence({ tokens: undefined, startPosition: context - 1, blockTable: table.map(blockId) })
  const other = (context: number): ForwardSequence => aSequence({ id: sequenceId('b'), stateRow: 1, tokens: undefined, startPosition: context - 1, blockTable: [30, 31, 32].map(blockId) })
  const tables = (...sequences: ForwardSequence[]): unknown => {
    const { words } = packer.pack(aBatch(...sequences))
    const { singles, table } = unpack(words)
    return singles.map(([, at = NaN, context = NaN]) => Array.from({ length: Math.ceil(context / 4) }, (_, i) => table(at + i)))
  }
  const [first, second] = [decode(7, [20, 21]), other(3)]
  t.strictSame(tables(first, second), [[20, 21], [30]])
  t.strictSame(tables(second, { ...first, startPosition: 7 }), [[30], [20, 21]], 'the same tables, elsewhere')
  t.strictSame(tables(decode(9, [20, 21, 22]), other(5)), [[20, 21, 22], [30, 31]])
  t.throws(() => packer.pack(aBatch(decode(10, [20, 21, 500]), second)), { message: /block 500 of 500/ })
  t.throws(() => packer.pack(aBatch(decode(10, [20, 21, 500]), second)), { message: /block 500 of 500/ }, 'and every time')
  t.strictSame(tables(decode(10, [20, 21, 22])), [[20, 21, 22]])
})

t.test('splits of another size in the next step leave nothing of the last one behind', async t => {
  let keys = 32
  const packer = new StepPacker(limits, { ...layout, split: () => ({ keys, subgroups: 1 }) })
  const batch = aBatch(aSequence({ tokens: [1], startPosition: 191, blockTable: blocks(48) }), aSequence({ id: sequenceId('b'), stateRow: 1, tokens: [1], startPosition: 31, blockTable: blocks(8) }))
  for (const [own, splits, singles, tiles] of [[32, 6, 1, 1], [64, 3, 2, 0], [192, 1, 2, 0], [32, 6, 1, 1]] as const) {
    keys = own
    const { shape, words } = packer.pack(batch)
    t.strictSame([words[SPLIT_KEYS], shape.splits, shape.singles, shape.tiles], [own, splits, singles, tiles], `splits of ${own}`)
    if (singles === 2) t.equal(unpack(words).singles[1]?.[3], splits, 'the second row\'s partial results follow the first one\'s')
  }
})

t.test('a step without lone tokens still says how many keys a split has', async t => {
  const packer = new StepPacker(limits, { ...layout, split: (singles, longest) => ({ keys: 32 + singles + longest, subgroups: 1 }) })
  const { shape, words } = packer.pack(aBatch(aSequence({ tokens: [1, 2, 3] })))
  t.strictSame([words[SPLIT_KEYS], shape.singles, shape.splits], [32, 0, 0])
})

t.test('the largest batch fits the words that were promised', async t => {
  const tight: RunnerLimits = { ...limits, maxBatchedTokens: 40, maxSequences: 4, maxLogitRows: 8, maxModelLen: 64, numKVBlocks: 500 }
  const packer = new StepPacker(tight, layout)
  const logitBias = Array.from({ length: 1024 }, (_, i) => [i % 100, 1] as const)
  const { words } = packer.pack(aBatch(...[0, 1, 2, 3].map(i => aSequence({ id: sequenceId(`${i}`), stateRow: i, tokens: new Array(10).fill(1), startPosition: 54, blockTable: blocks(16), sampling: { ...greedy, logitBias }, scoreTargets: [1], numScoreLogprobs: 20 }))))
  t.ok(words.length <= packer.maxWords, `${words.length} of ${packer.maxWords} words`)
  const many = { ...tight, maxBatchedTokens: 4 }
  const sharing = new StepPacker(many, { ...layout, partialSplits: 1000, groups: { ...grouping, sizes: [1], leastKeys: 8, partKeys: () => 8 } })
  const grouped = sharing.pack(aBatch(...[0, 1, 2, 3].map(i => aSequence({ id: sequenceId(`${i}`), stateRow: i, tokens: undefined, startPosition: 63, blockTable: blocks(16), sampling: { ...greedy, logitBias } }))))
  t.equal(grouped.shape.groups, 28, 'seven parts each')
  t.ok(grouped.words.length <= sharing.maxWords, `${grouped.words.length} of ${sharing.maxWords} words`)
})

t.test('whatever breaks the contract is refused, and the packer goes on', async t => {
  const packer = new StepPacker(limits, layout)
  const nine = new Array(9).fill(1)
  const cases: ReadonlyArray<readonly [RegExp, ...ForwardSequence[]]> = [
    [/computes no token/, aSequence({ tokens: [] })],
    [/reaches 2001 tokens/, aSequence({ startPosition: 2000, blockTable: blocks(501) })],
    [/needs 4 blocks and has 3/, aSequence({ startPosition: 12 })],
    [/state row 4 of 4/, aSequence({ stateRow: 4 })],
    [/state row -1 of 4/, aSequence({ stateRow: -1 })],
    [/block 500 of 500/, aSequence({ blockTable: [blockId(500)] })],
    [/token 100 of 100/, aSequence({ tokens: [100] })],
    [/token -1 of 100/, aSequence({ tokens: [-1] })],
    [/scores more tokens than it computes/, aSequence({ scoreTargets: [1, 2], numScoreLogprobs: 0 })],
    [/biases token 100 of 100/, aSequence({ sampling: { ...greedy, logitBias: [[100, 1]] } })],
    [/5 sequences; at most 4/, ...[0, 1, 2, 3, 0].map(stateRow => aSequence({ stateRow, sampling: undefined }))],
    [/1001 tokens; at most 1000/, aSequence({ tokens: new Array(1001).fill(1), blockTable: blocks(251) })],
    [/9 logit rows; at most 8/, aSequence({ tokens: nine, scoreTargets: nine, numScoreLogprobs: 0, sampling: undefined })],
    [/starts at -1/, aSequence({ startPosition: -1 })],
    [/scores token 100 of 100/, aSequence({ scoreTargets: [100], numScoreLogprobs: 0 })],
    [/21 logprobs; at most 20/, aSequence({ scoreTargets: [1], numScoreLogprobs: 21 })],
    [/21 logprobs; at most 20/, aSequence({ sampling: { ...greedy, numLogprobs: 21 } })],
    [/1025 biases; at most 1024/, aSequence({ sampling: { ...greedy, logitBias: new Array(1025).fill([1, 1]) } })],
    [/shares state row 0/, aSequence(), aSequence({ id: sequenceId('other') })]
  ]
  for (const [problem, ...sequences] of cases) {
    t.throws(() => packer.pack(aBatch(...sequences)), { message: problem, code: 'ENGINE_INVALID_BATCH', details: { step: 3 } }, String(problem))
  }
  t.throws(() => packer.pack(aBatch(aSequence({ tokens: [] }))), InvalidBatchError)
  for (const [from, to] of [[500, 1], [1, 500], [-1, 1], [1, 1]] as const) {
    const moves = [{ from: blockId(from), to: blockId(to), direction: 'copy-on-write' }] as const
    t.throws(() => packer.pack({ ...aBatch(aSequence()), moves }), { code: 'ENGINE_INVALID_BATCH', message: /copies block/ })
  }
  t.strictSame(packer.pack(aBatch(aSequence())).shape, { tokens: 1, singles: 1, splits: 1, splitSubgroups: 1, groups: 0, groupSize: 0, tiles: 0, logitRows: 1, fewKeys: 1 })
  t.equal(packer.pack(aBatch(aSequence({ startPosition: 8 }))).shape.fewKeys, 10, 'keys of a lone token, at most a quarter more')
})

t.test('only a changed penalty needs counts', async t => {
  t.equal(usesPenalties(greedy), false)
  for (const change of [{ presencePenalty: 0.1 }, { frequencyPenalty: -0.1 }, { repetitionPenalty: 1.1 }]) t.equal(usesPenalties({ ...greedy, ...change }), true)
})
