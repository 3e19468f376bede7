import type { ForwardSequence } from './contract.ts'
import { sharedPrefixes } from './shared-prefixes.ts'
import type { SharedPrefix } from './shared-prefixes.ts'

/** How rows that begin with the same blocks attend these together. */
export interface GroupLayout {
  /** Rows that one workgroup takes, ascending: one variant of the kernel each. */
  readonly sizes: readonly number[]
  readonly unit: number
  readonly leastMembers: number
  readonly leastKeys: number
  /** Of so many rows that attend a key together, those by which that is less work than apart; negative where it is more. */
  readonly rowsSaved: (members: number) => number
  /** Fewer keys saved than these, one for each row, over all groups and as a mean over layers, are not worth a dispatch. */
  readonly leastSavedKeys: number
  /** Keys that queries see at most, Infinity for all, and in which share of the layers. */
  readonly windows: ReadonlyArray<{ readonly window: number, readonly share: number }>
  /** Keys that one workgroup attends, when so many workgroups' groups of a size share prefixes of these lengths; at least `leastKeys`. */
  readonly partKeys: (size: number, prefixes: readonly number[]) => number
}

/** How a row's own keys are cut: keys of a part, and subgroups that attend it side by side. */
export interface Split { readonly keys: number, readonly subgroups: number }

export interface SingleLayout {
  /** For a step with so many sequences that compute one token and have at most so many own keys. */
  readonly split: (singles: number, longest: number) => Split
  /** Partial results that their buffers hold: rows beyond them are attended as tiles: slower, and where kernels are deterministic the same bits. */
  readonly partialSplits: number
  /** Undefined: every row attends all of its keys by itself. */
  readonly groups: GroupLayout | undefined
}

/** Where a row stands among single rows, and what it attends with others. */
export interface SingleRow {
  readonly place: number
  readonly prefix: number
  /** The first of its partial results. */
  readonly partial: number
}

/** `count` single rows from `first` on that attend `keys` keys together, part by part. */
export interface RowGroup { readonly first: number, readonly count: number, readonly keys: number }

/** How a step's lone query tokens are attended. */
export interface SingleRows {
  /** By sequence; undefined: as tiles. */
  readonly rows: ReadonlyArray<SingleRow | undefined>
  readonly count: number
  readonly split: Split
  /** Most parts of own keys of any row. */
  readonly splits: number
  /** Ordered as their members' places; empty where nothing is shared. */
  readonly groups: readonly RowGroup[]
  /** Rows that a group has room for, one of the layout's sizes, and keys of a part. */
  readonly groupSize: number
  readonly groupKeys: number
}

interface Lone { readonly sequence: number, readonly context: number }
interface Division { readonly size: number, readonly partKeys: number, readonly chunks: ReadonlyArray<{ readonly members: readonly number[], readonly keys: number }> }

/** Deals out places and partial results: first to rows that share, group by group, then to the others in their order. */
export function arrangeSingles (sequences: readonly ForwardSequence[], layout: SingleLayout, blockSize: number): SingleRows {
  const lone: Lone[] = []
  for (let sequence = 0; sequence < sequences.length; sequence++) {
    const forward = sequences[sequence]
    if (forward !== undefined && (forward.tokens?.length ?? 1) === 1) lone.push({ sequence, context: forward.startPosition + 1 })
  }
  let shared = layout.groups === undefined ? [] : worthSharing(sequences, lone, layout.groups, blockSize)
  for (;;) {
    const arranged = deal(sequences.length, lone, divide(shared, layout.groups), layout)
    if (arranged !== undefined) return arranged
    // No room for all of their partial results: the last one's rows attend by themselves.
    shared = shared.slice(0, -1)
  }
}

function worthSharing (sequences: readonly ForwardSequence[], lone: readonly Lone[], groups: GroupLayout, blockSize: number): readonly SharedPrefix[] {
  // A row's last block is left out: it is being written.
  const rows = lone.map(({ sequence, context }) => ({ table: sequences[sequence]?.blockTable ?? [], blocks: Math.floor((context - 1) / blockSize) }))
  const shared = sharedPrefixes(rows, { blockSize, ...groups })
  const saved = shared.reduce((sum, prefix) => sum + savedKeys(prefix, lone, groups), 0)
  return saved >= groups.leastSavedKeys ? shared : []
}

/** Keys saved, as a mean over layers: a window may begin within the prefix, or behind it. */
function savedKeys ({ members, keys }: SharedPrefix, lone: readonly Lone[], { windows, rowsSaved }: GroupLayout): number {
  const again = windows.reduce((sum, { window, share }) => {
    const seen = members.map(member => Math.max(0, keys - Math.max(0, (lone[member]?.context ?? 0) - window)))
    return sum + share * (seen.reduce((all, own) => all + own, 0) - Math.max(...seen))
  }, 0)
  return again * rowsSaved(members.length) / (members.length - 1)
}

/** As few as `most` allows, none much smaller than the others, and of whole tiles, `least` members each, where that makes them no more. */
function chunksOf (members: readonly number[], most: number, least: number): ReadonlyArray<readonly number[]> {
  const count = Math.ceil(members.length / most)
  const even = Array.from({ length: count + 1 }, (_, chunk) => Math.floor(chunk * members.length / count))
  const whole = even.map(at => at === members.length ? at : Math.floor(at / least) * least)
  const bounds = whole.every((at, i) => at - (whole[i - 1] ?? 0) <= most) ? whole : even
  return bounds.slice(1).map((to, chunk) => members.slice(bounds[chunk], to))
}

/** Cuts groups into what workgroups take. */
function divide (shared: readonly SharedPrefix[], groups: GroupLayout | undefined): Division {
  if (groups === undefined || shared.length === 0) return { size: 0, partKeys: 1, chunks: [] }
  const largest = Math.max(...shared.map(({ members }) => members.length))
  const [least = 1] = groups.sizes
  const size = groups.sizes.find(size => size >= largest) ?? groups.sizes.at(-1) ?? least
  const chunks = shared.flatMap(({ members, keys }) => chunksOf(members, size, least).map(chunk => ({ members: chunk, keys })))
  return { size, partKeys: groups.partKeys(size, chunks.map(({ keys }) => keys)), chunks }
}

/** @returns undefined when members of a group find no room */
function deal (numSequences: number, lone: readonly Lone[], { size, partKeys, chunks }: Division, { split: chooseSplit, partialSplits }: SingleLayout): SingleRows | undefined {
  const prefixes = new Float64Array(lone.length)
  for (const { members, keys } of chunks) for (const member of members) prefixes[member] = keys
  let longest = 0
  for (let i = 0; i < lone.length; i++) longest = Math.max(longest, (lone[i]?.context ?? 0) - (prefixes[i] ?? 0))
  const split = chooseSplit(lone.length, longest)
  const rows = new Array<SingleRow | undefined>(numSequences).fill(undefined)
  let count = 0
  let partial = 0
  let splits = 0
  const place = (row: Lone | undefined, prefix: number): boolean => {
    if (row === undefined) return false
    const own = Math.ceil((row.context - prefix) / split.keys)
    const parts = Math.ceil(prefix / partKeys) + own
    if (partial + parts > partialSplits) return false
    rows[row.sequence] = { place: count++, prefix, partial }
    partial += parts
    splits = Math.max(splits, own)
    return true
  }
  const groups: RowGroup[] = []
  for (const { members, keys } of chunks) {
    groups.push({ first: count, count: members.length, keys })
    for (const member of members) if (!place(lone[member], keys)) return undefined
  }
  for (let i = 0; i < lone.length; i++) if (prefixes[i] === 0) place(lone[i], 0)
  return { rows, count, split, splits, groups, groupSize: size, groupKeys: partKeys }
}
