import type { BlockTable } from '@daybreak/kvcache'
import { checkBatch, checkTable, maxLogitBiases, maxTopLogprobs } from './batch-check.ts'
import type { ForwardBatch, ForwardSequence, RunnerLimits, SamplingParams } from './contract.ts'
import { arrangeSingles } from './single-rows.ts'
import type { RowGroup, SingleLayout, SingleRow } from './single-rows.ts'

/** A result row on the GPU: token, its logprob, two spare words, then (token, logprob) pairs. */
export const resultWords = 4 + 2 * maxTopLogprobs

/** Single tokens whose layers may be computed whole, at most. */
const FEW_ROWS = 8

const HEADER_VECTORS = 3
/** A token record and, while there are single rows, one of those in two vectors. */
const PLACE_VECTORS = 3
const DEVICE_TOKEN = 0xffffffff
const FLAG_SCORE = 1
const FLAG_PENALTIES = 2
const FLAG_LOGPROBS = 4

/** The sizes of a step: they choose kernel variants and grids. Those that change with every token are rounded up: steps are recorded by shape. */
export interface StepShape {
  readonly tokens: number
  readonly singles: number
  /** Most splits of its own keys that any single row has, or a few more. */
  readonly splits: number
  /** Subgroups of a split. */
  readonly splitSubgroups: number
  /** Group records, or a few more. */
  readonly groups: number
  /** Rows that a group has room for; 0 where there are no groups. */
  readonly groupSize: number
  readonly tiles: number
  readonly logitRows: number
  /** Most keys of a sequence where the step is a single token of each of a few, rounded up; else 0. */
  readonly fewKeys: number
}

/** A batch flattened for the GPU, and how to read its results back. */
export interface StepInputs {
  readonly shape: StepShape
  /** Valid until the next call: the caller uploads it at once. */
  readonly words: Uint32Array<ArrayBuffer>
}

export interface StepLayout extends SingleLayout {
  /** Query tokens a tile holds. */
  readonly tileTokens: number
}

/** Where the next sequence's first token, tile, logit row and block go: a token record's number, words, and a word behind the bias lists' beginning. */
interface Cursors { token: number, tile: number, row: number, table: number, bias: number }

/** True when `sampling` needs the penalty counts of its state row. */
export function usesPenalties (sampling: SamplingParams): boolean {
  return sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0 || sampling.repetitionPenalty !== 1
}

/**
 * Packs batches into the `step` buffer's layout (wgsl/step_inputs.wgsl). One growing buffer is reused for all steps.
 */
export class StepPacker {
  readonly #limits: RunnerLimits
  readonly #layout: StepLayout
  /** By state row: tables never change, and most are the same in the next step. */
  readonly #checkedTables: Array<BlockTable | undefined> = []
  #words = new Uint32Array(4096)
  #floats = new Float32Array(this.#words.buffer)

  constructor (limits: RunnerLimits, layout: StepLayout) {
    this.#limits = limits
    this.#layout = layout
  }

  /** Most words any batch within the limits can need. */
  get maxWords (): number {
    const { maxBatchedTokens, maxSequences, maxLogitRows, maxModelLen, blockSize } = this.#limits
    const [places, tiles] = [PLACE_VECTORS * maxBatchedTokens, maxBatchedTokens]
    const vectors = HEADER_VECTORS + places + this.#maxGroups + tiles + 4 * maxLogitRows
    return 4 * vectors + maxSequences * (Math.ceil(maxModelLen / blockSize) + 1) + maxLogitRows * 2 * maxLogitBiases + 4
  }

  /** Each has the partial results of a row or more, and no row has more parts than its longest prefix. */
  get #maxGroups (): number {
    const { maxSequences, maxModelLen } = this.#limits
    const { groups, partialSplits } = this.#layout
    return groups === undefined ? 0 : Math.min(partialSplits, maxSequences * Math.ceil(maxModelLen / groups.leastKeys))
  }

  /** @throws InvalidBatchError when the batch breaks the contract; nothing has happened then */
  pack (batch: ForwardBatch): StepInputs {
    const { tileTokens } = this.#layout
    const counts = checkBatch(batch, this.#limits)
    const { sequences } = batch
    const { rows: singles, count, split, splits, groups, groupSize, groupKeys } = arrangeSingles(sequences, this.#layout, this.#limits.blockSize)
    let numTiles = 0
    for (let i = 0; i < sequences.length; i++) if (singles[i] === undefined) numTiles += Math.ceil((sequences[i]?.tokens?.length ?? 1) / tileTokens)
    let numGroups = 0
    for (const { keys } of groups) numGroups += Math.ceil(keys / groupKeys)
    const groupsAt = HEADER_VECTORS + PLACE_VECTORS * counts.tokens
    const tilesAt = groupsAt + numGroups
    const rowsAt = tilesAt + numTiles
    const tablesAt = 4 * (rowsAt + 4 * counts.logitRows)
    const biasAt = tablesAt + counts.tableWords
    const total = Math.ceil((biasAt + counts.biasWords) / 4) * 4
    this.#reserve(total)
    const words = this.#words
    writeVector(words, 0, counts.tokens, count, numTiles, counts.logitRows)
    writeVector(words, 4, numGroups, groupsAt, tilesAt, rowsAt)
    writeVector(words, 8, groupKeys, biasAt, split.keys, 0)
    this.#writeGroups(groupsAt, groups, groupKeys)
    const at: Cursors = { token: 0, tile: 4 * tilesAt, row: 4 * rowsAt, table: tablesAt, bias: 0 }
    for (let i = 0; i < sequences.length; i++) {
      const sequence = sequences[i]
      if (sequence === undefined) continue
      this.#writeAttention(sequence, singles[i], at)
      this.#writeRows(sequence, biasAt, at)
      at.token += sequence.tokens?.length ?? 1
      this.#writeTable(batch, sequence, at)
    }
    const { tokens, logitRows } = counts
    return {
      shape: { tokens, singles: count, splits: roundedUp(splits), splitSubgroups: split.subgroups, groups: roundedUp(numGroups), groupSize, tiles: numTiles, logitRows, fewKeys: count === tokens && tokens <= FEW_ROWS ? roundedUp(sequences.reduce((most, { startPosition }) => Math.max(most, startPosition + 1), 0)) : 0 },
      words: words.subarray(0, total)
    }
  }

  #writeGroups (vector: number, groups: readonly RowGroup[], groupKeys: number): void {
    let at = 4 * vector
    for (const { first, count, keys } of groups) {
      for (let start = 0; start < keys; start += groupKeys) {
        writeVector(this.#words, at, first, count, start, Math.min(start + groupKeys, keys))
        at += 4
      }
    }
  }

  /** A sequence's tokens, and the single row or the tiles as which they attend. */
  #writeAttention ({ tokens, startPosition, stateRow, blockTable }: ForwardSequence, single: SingleRow | undefined, at: Cursors): void {
    const words = this.#words
    const { blockSize } = this.#limits
    const { tileTokens } = this.#layout
    const length = tokens?.length ?? 1
    for (let i = 0; i < length; i++) {
      const position = startPosition + i
      const block = blockTable[Math.floor(position / blockSize)] ?? 0
      writeVector(words, tokenWord(at.token + i), tokens?.[i] ?? DEVICE_TOKEN, stateRow, position, block * blockSize + position % blockSize)
    }
    if (single !== undefined) {
      const record = tokenWord(single.place) + 4
      writeVector(words, record, at.token, at.table, startPosition + length, single.partial)
      writeVector(words, record + 4, single.prefix, 0, 0, 0)
      return
    }
    for (let i = 0; i < length; i += tileTokens) {
      writeVector(words, at.tile, at.token + i, Math.min(tileTokens, length - i), at.table, startPosition + i)
      at.tile += 4
    }
  }

  /** A sequence's scores, and then its sample. */
  #writeRows ({ tokens, startPosition, stateRow, sampling, scoreTargets, numScoreLogprobs }: ForwardSequence, biasAt: number, at: Cursors): void {
    const words = this.#words
    const floats = this.#floats
    const length = tokens?.length ?? 1
    if (scoreTargets !== undefined) {
      for (let i = 0; i < scoreTargets.length; i++) {
        words.fill(0, at.row, at.row + 16)
        writeVector(words, at.row, at.token + i, stateRow, FLAG_SCORE | FLAG_LOGPROBS, scoreTargets[i] ?? 0)
        words[at.row + 15] = numScoreLogprobs ?? 0
        at.row += 16
      }
    }
    if (sampling === undefined) return
    const flags = (usesPenalties(sampling) ? FLAG_PENALTIES : 0) | (sampling.numLogprobs === undefined ? 0 : FLAG_LOGPROBS)
    writeVector(words, at.row, at.token + length - 1, stateRow, flags, 0)
    writeVector(floats, at.row + 4, sampling.temperature, sampling.topP, sampling.minP, 0)
    words[at.row + 7] = at.bias
    writeVector(floats, at.row + 8, sampling.presencePenalty, sampling.frequencyPenalty, sampling.repetitionPenalty, 0)
    words[at.row + 11] = sampling.logitBias.length
    writeVector(words, at.row + 12, sampling.seed, startPosition + length, sampling.topK, sampling.numLogprobs ?? 0)
    at.row += 16
    for (const [id, value] of sampling.logitBias) {
      words[biasAt + at.bias++] = id
      floats[biasAt + at.bias++] = value
    }
  }

  #writeTable (batch: ForwardBatch, sequence: ForwardSequence, at: Cursors): void {
    const { blockTable, tokens, startPosition, stateRow } = sequence
    if (this.#checkedTables[stateRow] !== blockTable) {
      checkTable(batch, sequence, this.#limits)
      this.#checkedTables[stateRow] = blockTable
    }
    const blocks = Math.ceil((startPosition + (tokens?.length ?? 1)) / this.#limits.blockSize)
    this.#words.set(blocks === blockTable.length ? blockTable : blockTable.slice(0, blocks), at.table)
    at.table += blocks
  }

  #reserve (words: number): void {
    if (this.#words.length >= words) return
    this.#words = new Uint32Array(2 ** Math.ceil(Math.log2(words)))
    this.#floats = new Float32Array(this.#words.buffer)
  }
}

/** By its elements: an array of them for every record would be most of a step's garbage. */
function writeVector (words: Uint32Array | Float32Array, at: number, x: number, y: number, z: number, w: number): void {
  words[at] = x
  words[at + 1] = y
  words[at + 2] = z
  words[at + 3] = w
}

/** Where token record i begins; single record i lies behind it. */
function tokenWord (i: number): number {
  return 4 * (HEADER_VECTORS + PLACE_VECTORS * i)
}

/** Three digits of binary: at most a quarter more. What a grid has too much returns at once. */
export function roundedUp (count: number): number {
  const unit = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, count))) - 2)
  return Math.ceil(count / unit) * unit
}
