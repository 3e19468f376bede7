import type { StorageType } from '../../../packages/engine/src/engine.ts'
import type { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { pagedAttention } from '../../reference/paged-attention.ts'
import { pagedKVLength, pagedKVStart, slotOf, writePagedKV } from '../../reference/paged-kv.ts'
import type { PagedKVShape } from '../../reference/paged-kv.ts'
import type { GroupRecord, SingleRecord, TileRecord } from './step-records.ts'

export interface AttendingModel { readonly headDim: number, readonly group: number, readonly numKVHeads: number, readonly window?: number, readonly softcap?: number }

/** Query tokens at consecutive positions of a sequence. */
export interface Chunk { readonly sequence: number, readonly start: number, readonly count: number }

/** Sequences whose keys and values lie in a paged cache. */
export interface Scene<M extends AttendingModel = AttendingModel> {
  readonly model: M
  readonly storage: StorageType
  readonly shape: PagedKVShape
  readonly lengths: readonly number[]
  /** Block tables of the sequences; blocks are shuffled among them all. */
  readonly tables: ReadonlyArray<readonly number[]>
  /** NaN in every block that no sequence uses. */
  readonly cache: Float64Array
}

export interface SceneOptions {
  readonly blockSize?: number
  /** What the slots of a sequence's last block hold behind its end; default NaN. */
  readonly spare?: number
  /** The first element of every key, by position: what a query that begins with 1 scores it, and a little more. */
  readonly plant?: (position: number) => number
  /** Sequences whose first keys lie in the blocks of the first of them; whole blocks. */
  readonly alike?: readonly Alike[]
}

export interface Alike { readonly sequences: readonly number[], readonly keys: number }

export function makeScene<M extends AttendingModel> (random: SeededRandom, model: M, storage: StorageType, lengths: readonly number[], { blockSize = 16, spare = NaN, plant, alike = [] }: SceneOptions = {}): Scene<M> {
  const { numKVHeads, headDim } = model
  const counts = lengths.map(length => Math.ceil(length / blockSize))
  const numBlocks = counts.reduce((a, b) => a + b, 3)
  const blocks = random.shuffled(Array.from({ length: numBlocks }, (_, block) => block))
  const tables = counts.map(count => blocks.splice(0, count))
  for (const { sequences: [first = 0, ...others], keys } of alike) {
    for (const other of others) tables[other]?.splice(0, keys / blockSize, ...tables[first]?.slice(0, keys / blockSize) ?? [])
  }
  const shape = { numBlocks, blockSize, numKVHeads, headDim }
  const cache = new Float64Array(pagedKVLength(shape)).fill(NaN)
  lengths.forEach((length, i) => {
    const table = tables[i] ?? []
    const slots = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => slotOf(table, from + n, blockSize))
    const values = (): Float64Array => random.normals(length * numKVHeads * headDim)
    const keys = values()
    if (plant !== undefined) for (let at = 0; at < keys.length; at += headDim) keys[at] = plant(Math.floor(at / headDim / numKVHeads))
    writePagedKV(cache, shape, stored(keys, storage), stored(values(), storage), slots(0, length))
    const behind = slots(length, table.length * blockSize)
    const spares = new Float64Array(behind.length * numKVHeads * headDim).fill(spare)
    writePagedKV(cache, shape, spares, spares, behind)
  })
  return { model, storage, shape, lengths, tables, cache }
}

/** `[count][query head][headDim]`, as activations of that type hold them, already scaled. */
export function queriesFor (random: SeededRandom, { headDim, group, numKVHeads }: AttendingModel, count: number, type: StorageType = 'f32'): Float64Array {
  return stored(random.normals(count * group * numKVHeads * headDim, 1 / Math.sqrt(headDim)), type)
}

export const numTokens = (chunks: readonly Chunk[]): number => chunks.reduce((sum, { count }) => sum + count, 0)
/** Elements in a token's queries. */
export const rowWidth = ({ headDim, group, numKVHeads }: AttendingModel): number => headDim * group * numKVHeads

/** Float64 attention of the same (already scaled) queries. */
export function expected ({ model, shape, tables, cache }: Scene, queries: Float64Array, chunks: readonly Chunk[]): Float64Array {
  const unscaled = queries.map(x => x * Math.sqrt(model.headDim))
  return pagedAttention(unscaled, cache, shape, model.group * model.numKVHeads,
    chunks.map(({ sequence, start, count }) => ({ startPosition: start, numTokens: count, blockTable: tables[sequence] ?? [] })), model)
}

/** The same scene with the magnitudes of its values: its attention is Σ weight · |value|. */
export function withMagnitudes<M extends AttendingModel> (scene: Scene<M>): Scene<M> {
  const { numBlocks, blockSize, numKVHeads } = scene.shape
  const cache = scene.cache.slice()
  for (let block = 0; block < numBlocks; block++) {
    const from = pagedKVStart(scene.shape, block * blockSize, 'value', 0)
    const to = from + numKVHeads * blockSize * scene.shape.headDim
    for (let i = from; i < to; i++) cache[i] = Math.abs(cache[i] ?? NaN)
  }
  return { ...scene, cache }
}

/** All block tables, and where each begins. */
export function tableWords ({ tables }: Scene): { readonly words: number[], readonly offsets: readonly number[] } {
  let offset = 0
  const offsets = tables.map(table => (offset += table.length) - table.length)
  return { words: tables.flat(), offsets }
}

/** Tiles of at most `tileTokens` query tokens. */
export function tilesOf (scene: Scene, chunks: readonly Chunk[], tileTokens: number): TileRecord[] {
  const { offsets } = tableWords(scene)
  let row = 0
  return chunks.flatMap(({ sequence, start, count }) => Array.from({ length: Math.ceil(count / tileTokens) }, (_, i) => {
    const own = Math.min(tileTokens, count - i * tileTokens)
    row += own
    return { firstRow: row - own, count: own, table: offsets[sequence] ?? 0, startPosition: start + i * tileTokens }
  }))
}

/** Every query token by itself, the number of its splits, and of all. */
export function singlesOf (scene: Scene, chunks: readonly Chunk[], splitKeys: number): { readonly singles: SingleRecord[], readonly mostSplits: number, readonly numSplits: number } {
  const { offsets } = tableWords(scene)
  let numSplits = 0
  let mostSplits = 0
  const singles = chunks.flatMap(({ sequence, start, count }) => Array.from({ length: count }, (_, i) => ({ table: offsets[sequence] ?? 0, context: start + i + 1 })))
    .map((single, tokenRow) => {
      const splits = Math.ceil(single.context / splitKeys)
      mostSplits = Math.max(mostSplits, splits)
      numSplits += splits
      return { ...single, tokenRow, partial: numSplits - splits }
    })
  return { singles, mostSplits, numSplits }
}

export interface Grouped {
  readonly singles: SingleRecord[]
  readonly groups: GroupRecord[]
  /** Most splits of any row's own keys, and partial results of all rows. */
  readonly mostSplits: number
  readonly numPartials: number
}

/**
 * The last token of every sequence, row i being sequence i: those of `alike` in groups of at most `size` that attend their first keys
 * together, the others by themselves. Single rows stand last sequence first, as far as groups let them.
 */
export function groupedSingles (scene: Scene, alike: readonly Alike[], { splitKeys, groupKeys, size }: { readonly splitKeys: number, readonly groupKeys: number, readonly size: number }): Grouped {
  const { offsets } = tableWords(scene)
  const singles: SingleRecord[] = []
  const groups: GroupRecord[] = []
  let numPartials = 0
  let mostSplits = 0
  const add = (sequence: number, prefix: number): void => {
    const context = scene.lengths[sequence] ?? 0
    const splits = Math.ceil((context - prefix) / splitKeys)
    singles.push({ tokenRow: sequence, table: offsets[sequence] ?? 0, context, partial: numPartials, prefix })
    numPartials += splits + Math.ceil(prefix / groupKeys)
    mostSplits = Math.max(mostSplits, splits)
  }
  const inGroup = new Set(alike.flatMap(({ sequences }) => sequences))
  scene.lengths.map((_, sequence) => sequence).reverse().filter(sequence => !inGroup.has(sequence)).forEach(sequence => { add(sequence, 0) })
  for (const { sequences, keys } of alike) {
    for (let at = 0; at < sequences.length; at += size) {
      const members = sequences.slice(at, at + size).reverse()
      for (let start = 0; start < keys; start += groupKeys) groups.push({ firstSingle: singles.length, count: members.length, start, end: Math.min(start + groupKeys, keys) })
      for (const member of members) add(member, keys)
    }
  }
  return { singles, groups, mostSplits, numPartials }
}
