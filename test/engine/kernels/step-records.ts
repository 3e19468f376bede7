/**
 * The `step` buffer by the letter of wgsl/step_inputs.wgsl, written independently of the engine's StepPacker: kernels are tested
 * against the layout, and so is the packer.
 */
export interface TokenRecord { readonly token: number, readonly stateRow: number, readonly position: number, readonly slot: number }
/** `prefix`: keys attended with others; default 0. */
export interface SingleRecord { readonly tokenRow: number, readonly table: number, readonly context: number, readonly partial: number, readonly prefix?: number }
export interface GroupRecord { readonly firstSingle: number, readonly count: number, readonly start: number, readonly end: number }
export interface TileRecord { readonly firstRow: number, readonly count: number, readonly table: number, readonly startPosition: number }

export interface LogitRecord {
  readonly hiddenRow: number
  readonly stateRow: number
  readonly score: boolean
  readonly penalties: boolean
  readonly logprobs: boolean
  /** Token to score. */
  readonly target: number
  readonly temperature: number
  readonly topP: number
  readonly minP: number
  readonly presencePenalty: number
  readonly frequencyPenalty: number
  readonly repetitionPenalty: number
  readonly bias: ReadonlyArray<readonly [token: number, value: number]>
  readonly seed: number
  readonly position: number
  readonly topK: number
  readonly numTop: number
}

export interface StepRecords {
  /** Own keys of a split of single rows; default 128. */
  readonly splitKeys?: number
  /** Keys of a group record at most; default 128. */
  readonly groupKeys?: number
  readonly tokens?: readonly TokenRecord[]
  readonly singles?: readonly SingleRecord[]
  readonly groups?: readonly GroupRecord[]
  readonly tiles?: readonly TileRecord[]
  readonly logitRows?: readonly LogitRecord[]
  /** Block tables one behind the other; `table` here is an index into this list. */
  readonly tables?: readonly number[]
}

export const DEVICE_TOKEN = 0xffffffff
const GAP = [0xbad, 0xbad, 0xbad, 0xbad]

const float = new Float32Array(1)
const floatBits = new Uint32Array(float.buffer)
/** The bits of an f32. */
export function bitsOf (value: number): number {
  float[0] = value
  return floatBits[0] ?? 0
}

/** Greedy, with nothing asked for; tests override what they are about. */
export const plainLogitRow: LogitRecord = {
  hiddenRow: 0,
  stateRow: 0,
  score: false,
  penalties: false,
  logprobs: false,
  target: 0,
  temperature: 0,
  topP: 1,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  bias: [],
  seed: 0,
  position: 0,
  topK: 0,
  numTop: 0
}

/** Sections behind the token and single records stand in another order than the packer's and apart from each other: kernels must follow the header. */
export function stepWords ({ splitKeys = 128, groupKeys = 128, tokens = [], singles = [], groups = [], tiles = [], logitRows = [], tables = [] }: StepRecords): Uint32Array {
  const places = Math.max(tokens.length, singles.length)
  const words: number[] = new Array(12 + 12 * places).fill(0xbad)
  const section = (records: readonly number[]): number => {
    words.push(...GAP)
    const at = words.length
    words.push(...records)
    while (words.length % 4 !== 0) words.push(0xbad)
    return at
  }
  const biases: number[] = []
  const rows = logitRows.flatMap(row => {
    const biasAt = biases.length
    for (const [token, value] of row.bias) biases.push(token, bitsOf(value))
    return [
      row.hiddenRow, row.stateRow, (row.score ? 1 : 0) | (row.penalties ? 2 : 0) | (row.logprobs ? 4 : 0), row.target,
      bitsOf(row.temperature), bitsOf(row.topP), bitsOf(row.minP), biasAt,
      bitsOf(row.presencePenalty), bitsOf(row.frequencyPenalty), bitsOf(row.repetitionPenalty), row.bias.length,
      row.seed, row.position, row.topK, row.numTop
    ]
  })
  const biasAt = section([0xbad, ...biases]) + 1
  const rowsAt = section(rows)
  const tablesAt = section([0xbad, ...tables]) + 1
  const tilesAt = section(tiles.flatMap(tile => [tile.firstRow, tile.count, tablesAt + tile.table, tile.startPosition]))
  const groupsAt = section(groups.flatMap(group => [group.firstSingle, group.count, group.start, group.end]))
  words.splice(0, 12,
    tokens.length, singles.length, tiles.length, logitRows.length,
    groups.length, groupsAt / 4, tilesAt / 4, rowsAt / 4,
    groupKeys, biasAt, splitKeys, 0)
  for (const [i, token] of tokens.entries()) words.splice(12 + 12 * i, 4, token.token, token.stateRow, token.position, token.slot)
  for (const [i, single] of singles.entries()) words.splice(16 + 12 * i, 5, single.tokenRow, tablesAt + single.table, single.context, single.partial, single.prefix ?? 0)
  return Uint32Array.from(words)
}

/** `count` tokens whose records a kernel only counts. */
export function countedTokens (count: number): TokenRecord[] {
  return Array.from({ length: count }, (_, i) => ({ token: i, stateRow: 0, position: i, slot: i }))
}
