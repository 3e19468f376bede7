import type { ForwardBatch, ForwardSequence, RunnerLimits, SamplingParams } from './contract.ts'
import { InvalidBatchError } from './errors.ts'
import { arrangeSingles } from './single-rows.ts'
import type { RowGroup, SingleLayout } from './single-rows.ts'

/** Most alternatives a sampled token reports. */
export const maxTopLogprobs = 20
/** A result row on the GPU: token, its logprob, two spare words, then (token, logprob) pairs. */
export const resultWords = 4 + 2 * maxTopLogprobs

/** Most biases a sampled token takes. */
const maxLogitBiases = 1024
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
    const { blockSize } = this.#limits
    const counts = this.#count(batch)
    const { rows: singles, count, split, splits, groups, groupSize, groupKeys } = arrangeSingles(batch.sequences, this.#layout, blockSize)
    const numTiles = batch.sequences.reduce((sum, { tokens }, i) => singles[i] === undefined ? sum + Math.ceil((tokens?.length ?? 1) / this.#layout.tileTokens) : sum, 0)
    const numGroups = groups.reduce((sum, { keys }) => sum + Math.ceil(keys / groupKeys), 0)
    const groupsAt = HEADER_VECTORS + PLACE_VECTORS * counts.tokens
    const tilesAt = groupsAt + numGroups
    const rowsAt = tilesAt + numTiles
    const tablesAt = 4 * (rowsAt + 4 * counts.logitRows)
    const biasAt = tablesAt + counts.tableWords
    const total = Math.ceil((biasAt + counts.biasWords) / 4) * 4
    this.#reserve(total)
    const words = this.#words
    words.set([
      counts.tokens, count, numTiles, counts.logitRows,
      numGroups, groupsAt, tilesAt, rowsAt,
      groupKeys, biasAt, split.keys, 0
    ])
    this.#writeGroups(groupsAt, groups, groupKeys)
    let token = 0
    let tile = tilesAt * 4
    let row = 0
    let table = tablesAt
    let bias = 0
    for (const [at, sequence] of batch.sequences.entries()) {
      const length = sequence.tokens?.length ?? 1
      const context = sequence.startPosition + length
      const firstRow = token
      for (let i = 0; i < length; i++) {
        const position = sequence.startPosition + i
        const block = sequence.blockTable[Math.floor(position / blockSize)] ?? 0
        words.set([sequence.tokens?.[i] ?? DEVICE_TOKEN, sequence.stateRow, position, block * blockSize + position % blockSize], tokenWord(token++))
      }
      const single = singles[at]
      if (single !== undefined) {
        words.set([firstRow, table, context, single.partial, single.prefix, 0, 0, 0], tokenWord(single.place) + 4)
      } else {
        for (let i = 0; i < length; i += this.#layout.tileTokens) {
          words.set([firstRow + i, Math.min(this.#layout.tileTokens, length - i), table, sequence.startPosition + i], tile)
          tile += 4
        }
      }
      sequence.scoreTargets?.forEach((target, i) => this.#writeRow(rowsAt + 4 * row++, firstRow + i, sequence, FLAG_SCORE | FLAG_LOGPROBS, target, context, bias))
      if (sequence.sampling !== undefined) {
        const flags = (usesPenalties(sequence.sampling) ? FLAG_PENALTIES : 0) | (sequence.sampling.numLogprobs === undefined ? 0 : FLAG_LOGPROBS)
        this.#writeRow(rowsAt + 4 * row++, firstRow + length - 1, sequence, flags, 0, context, bias)
        for (const [id, value] of sequence.sampling.logitBias) {
          words[biasAt + bias++] = id
          this.#floats[biasAt + bias++] = value
        }
      }
      const blocks = Math.ceil(context / blockSize)
      for (let i = 0; i < blocks; i++) words[table++] = sequence.blockTable[i] ?? 0
    }
    const { tokens, logitRows } = counts
    return {
      shape: { tokens, singles: count, splits: roundedUp(splits), splitSubgroups: split.subgroups, groups: roundedUp(numGroups), groupSize, tiles: numTiles, logitRows },
      words: words.subarray(0, total)
    }
  }

  #writeGroups (vector: number, groups: readonly RowGroup[], groupKeys: number): void {
    let at = 4 * vector
    for (const { first, count, keys } of groups) {
      for (let start = 0; start < keys; start += groupKeys) {
        this.#words[at++] = first
        this.#words[at++] = count
        this.#words[at++] = start
        this.#words[at++] = Math.min(start + groupKeys, keys)
      }
    }
  }

  #writeRow (vector: number, hiddenRow: number, sequence: ForwardSequence, flags: number, target: number, position: number, bias: number): void {
    const words = this.#words
    const floats = this.#floats
    const sampling = sequence.sampling
    const at = vector * 4
    words.fill(0, at, at + 16)
    words.set([hiddenRow, sequence.stateRow, flags, target], at)
    if (sampling === undefined || (flags & FLAG_SCORE) !== 0) {
      words[at + 15] = sequence.numScoreLogprobs ?? 0
      return
    }
    floats.set([sampling.temperature, sampling.topP, sampling.minP], at + 4)
    words[at + 7] = bias
    floats.set([sampling.presencePenalty, sampling.frequencyPenalty, sampling.repetitionPenalty], at + 8)
    words[at + 11] = sampling.logitBias.length
    words.set([sampling.seed, position, sampling.topK, sampling.numLogprobs ?? 0], at + 12)
  }

  /** Counts everything and checks the batch against the limits. */
  #count (batch: ForwardBatch): { tokens: number, logitRows: number, tableWords: number, biasWords: number } {
    const { blockSize, maxBatchedTokens, maxSequences, maxLogitRows, maxModelLen, numKVBlocks, vocabSize } = this.#limits
    const refuse = (problem: string): never => { throw new InvalidBatchError({ step: batch.step, problem }) }
    const counts = { tokens: 0, logitRows: 0, tableWords: 0, biasWords: 0 }
    const rows = new Set<number>()
    if (batch.sequences.length > maxSequences) refuse(`${batch.sequences.length} sequences; at most ${maxSequences}`)
    for (const { from, to } of batch.moves) {
      if (!(from >= 0 && from < numKVBlocks && to >= 0 && to < numKVBlocks && from !== to)) refuse(`copies block ${from} to ${to} of ${numKVBlocks}`)
    }
    for (const sequence of batch.sequences) {
      const length = sequence.tokens?.length ?? 1
      const context = sequence.startPosition + length
      const blocks = Math.ceil(context / blockSize)
      const logprobs = Math.max(sequence.sampling?.numLogprobs ?? 0, sequence.numScoreLogprobs ?? 0)
      const biases = sequence.sampling?.logitBias.length ?? 0
      if (!(sequence.startPosition >= 0)) refuse(`sequence ${sequence.id} starts at ${sequence.startPosition}`)
      if (length === 0) refuse(`sequence ${sequence.id} computes no token`)
      if (context > maxModelLen) refuse(`sequence ${sequence.id} reaches ${context} tokens; the model's context is ${maxModelLen}`)
      if (sequence.blockTable.length < blocks) refuse(`sequence ${sequence.id} needs ${blocks} blocks and has ${sequence.blockTable.length}`)
      if (!(sequence.stateRow >= 0 && sequence.stateRow < maxSequences)) refuse(`sequence ${sequence.id} has state row ${sequence.stateRow} of ${maxSequences}`)
      if (rows.has(sequence.stateRow)) refuse(`sequence ${sequence.id} shares state row ${sequence.stateRow}`)
      rows.add(sequence.stateRow)
      for (let i = 0; i < blocks; i++) {
        const block = sequence.blockTable[i] ?? -1
        if (!(block >= 0 && block < numKVBlocks)) refuse(`sequence ${sequence.id} uses block ${block} of ${numKVBlocks}`)
      }
      for (const token of sequence.tokens ?? []) if (!(token >= 0 && token < vocabSize)) refuse(`sequence ${sequence.id} has token ${token} of ${vocabSize}`)
      if ((sequence.scoreTargets?.length ?? 0) > length) refuse(`sequence ${sequence.id} scores more tokens than it computes`)
      for (const token of sequence.scoreTargets ?? []) if (!(token >= 0 && token < vocabSize)) refuse(`sequence ${sequence.id} scores token ${token} of ${vocabSize}`)
      // More would overwrite the next row's results, or overflow the step buffer.
      if (logprobs > maxTopLogprobs) refuse(`sequence ${sequence.id} asks for ${logprobs} logprobs; at most ${maxTopLogprobs}`)
      if (biases > maxLogitBiases) refuse(`sequence ${sequence.id} has ${biases} biases; at most ${maxLogitBiases}`)
      for (const [id] of sequence.sampling?.logitBias ?? []) if (!(id >= 0 && id < vocabSize)) refuse(`sequence ${sequence.id} biases token ${id} of ${vocabSize}`)
      counts.tokens += length
      counts.logitRows += (sequence.scoreTargets?.length ?? 0) + (sequence.sampling === undefined ? 0 : 1)
      counts.tableWords += blocks
      counts.biasWords += 2 * biases
    }
    if (counts.tokens > maxBatchedTokens) refuse(`${counts.tokens} tokens; at most ${maxBatchedTokens}`)
    if (counts.logitRows > maxLogitRows) refuse(`${counts.logitRows} logit rows; at most ${maxLogitRows}`)
    return counts
  }

  #reserve (words: number): void {
    if (this.#words.length >= words) return
    this.#words = new Uint32Array(2 ** Math.ceil(Math.log2(words)))
    this.#floats = new Float32Array(this.#words.buffer)
  }
}

/** Where token record i begins; single record i lies behind it. */
function tokenWord (i: number): number {
  return 4 * (HEADER_VECTORS + PLACE_VECTORS * i)
}

/** Three digits of binary: at most a quarter more. What a grid has too much returns at once. */
function roundedUp (count: number): number {
  const unit = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, count))) - 2)
  return Math.ceil(count / unit) * unit
}
