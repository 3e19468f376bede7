import type { RunnerLimits } from '@daybreak/engine/contract'
import type { KVCache, SequenceId } from '@daybreak/kvcache'
import { blocksFor } from '@daybreak/kvcache'
import { invariant } from './errors.ts'
import type { SchedulerConfig } from './config.ts'
import { SharedPrefixes } from './prefix-groups/shared-prefixes.ts'
import type { PrefixSource } from './prefix-groups/shared-prefixes.ts'
import type { Sequence } from './sequence.ts'
import { SequenceList } from './sequence-list.ts'
import { SwapOrRecompute } from './swap-or-recompute.ts'

/**
 * Who waits, who runs, and the two things running takes: a row of the engine's per-sequence state, and KV blocks. Both are
 * taken together at admission and given back together. What a preempted sequence has computed may wait in host memory.
 */
export class Residency {
  readonly waiting = new SequenceList()
  readonly running = new SequenceList()
  readonly kvCache: KVCache
  readonly prefixes: SharedPrefixes
  readonly preemption: SwapOrRecompute
  readonly maxRunning: number
  readonly #watermarkBlocks: number
  readonly #maxBatchedTokens: number
  readonly #swapInStepBlocks: number | undefined
  /** Free rows; the last is taken next. */
  readonly #freeRows: number[]
  #numPreemptions = 0

  constructor (kvCache: KVCache, limits: RunnerLimits, config: SchedulerConfig) {
    this.kvCache = kvCache
    this.prefixes = new SharedPrefixes(kvCache)
    this.preemption = new SwapOrRecompute(config.preemption, config.swapBlockSeconds)
    // A step must be able to carry every running sequence's decode.
    this.maxRunning = Math.min(limits.maxSequences, limits.maxBatchedTokens, limits.maxLogitRows)
    this.#watermarkBlocks = Math.ceil(config.watermark * kvCache.config.numBlocks)
    this.#maxBatchedTokens = limits.maxBatchedTokens
    this.#swapInStepBlocks = config.swapInStepBlocks
    this.#freeRows = Array.from({ length: this.maxRunning }, (_, i) => this.maxRunning - 1 - i)
  }

  /** Another sequence could run if there were blocks for it. */
  get hasFreeRow (): boolean {
    return this.#freeRows.length > 0
  }

  get numPreemptions (): number {
    return this.#numPreemptions
  }

  /**
   * A sequence that cannot be admitted to this step, whatever room there is: its newest token is unknown, its blocks are leaving still, or
   * others bring back as many blocks as one step should.
   */
  mustWait ({ id, numInFlight, swapped }: Sequence): boolean {
    return numInFlight > 0 || (swapped && (!this.kvCache.isSwappedOut(id) || this.#delaysOthers(id)))
  }

  /**
   * Moves a waiting sequence to the running ones, with blocks for all of its known tokens.
   * @returns false, with nothing changed, when rows or blocks are short.
   */
  admit (sequence: Sequence): boolean {
    const stateRow = this.#freeRows.at(-1)
    if (stateRow === undefined || !this.#takeBlocks(sequence)) return false
    this.#freeRows.pop()
    this.waiting.delete(sequence)
    this.running.add(sequence)
    sequence.phase = 'running'
    sequence.swapped = false
    sequence.stateRow = stateRow
    sequence.historyDue = sequence.carriesPenalty
    this.prefixes.admitted(sequence)
    return true
  }

  /** Some of the work of a kind could be scheduled, if not in this step. */
  hasWork (background: boolean): boolean {
    const isMeant = ({ group }: Sequence): boolean => group.background === background && !group.paused
    return this.running.some(isMeant) || this.waiting.some(isMeant)
  }

  /**
   * Puts a running sequence back among the waiting; it keeps its tokens and its place in the order. What it has computed goes to
   * host memory where that is estimated to be faster than computing it anew.
   * @param inFavourOf background work that gives way to other work may do so any number of times
   */
  preempt (sequence: Sequence, inFavourOf: Sequence): void {
    sequence.swapped = this.#swapsOut(sequence)
    if (!sequence.swapped) {
      this.kvCache.release(sequence.id)
      sequence.numComputed = 0
    }
    this.#leaveRunning(sequence)
    sequence.phase = 'waiting'
    if (!sequence.group.background || inFavourOf.group.background) sequence.numPreemptions++
    this.#numPreemptions++
    this.waiting.add(sequence)
  }

  /** Ends a sequence in any phase; what it held is free at once. */
  finish (sequence: Sequence): void {
    if (sequence.phase === 'running') {
      this.kvCache.release(sequence.id)
      this.#leaveRunning(sequence)
    } else {
      this.kvCache.forgetSwapped(sequence.id)
      this.waiting.delete(sequence)
    }
    sequence.swapped = false
    sequence.phase = 'finished'
    if (sequence.group.isFinished) this.prefixes.leave(sequence.group)
  }

  /** @throws SchedulerInvariantError or KVCacheInvariantError when rows, blocks and lists disagree. */
  checkInvariants (): void {
    this.kvCache.checkInvariants()
    this.prefixes.checkInvariants()
    const rows = new Set(this.#freeRows)
    for (const { id, phase, stateRow, numComputed } of this.running) {
      invariant(phase === 'running', 'sequence in the wrong list', { id, phase })
      invariant(!rows.has(stateRow), 'state row held twice', { id, stateRow })
      rows.add(stateRow)
      const numTokens = this.kvCache.blockTable(id).length * this.kvCache.config.blockSize
      invariant(numComputed <= numTokens, 'computed tokens without blocks', { id, numComputed, numTokens })
    }
    invariant(rows.size === this.maxRunning, 'state row lost', { known: rows.size, rows: this.maxRunning })
    let numSwapped = 0
    for (const { id, phase, swapped, numComputed } of this.waiting) {
      invariant(phase === 'waiting', 'sequence in the wrong list', { id, phase })
      invariant(swapped === (numComputed > 0), 'computed tokens of a waiting sequence that are nowhere', { id, numComputed })
      if (swapped) numSwapped++
    }
    invariant(numSwapped === this.kvCache.numSwapped, 'host memory held by a sequence that is not waiting', { numSwapped })
    invariant(this.kvCache.numSequences === this.running.size + this.prefixes.numKept, 'blocks held by a sequence that is not running')
  }

  /** With its blocks the step would bring back too many; those of one sequence alone are never too many, lest it never came back. */
  #delaysOthers (id: SequenceId): boolean {
    const { numSwapInsPlanned } = this.kvCache
    const most = this.#swapInStepBlocks ?? this.preemption.blocksIn(this.#maxBatchedTokens)
    return numSwapInsPlanned > 0 && numSwapInsPlanned + this.kvCache.maxSwapInSize(id) > most
  }

  #swapsOut (sequence: Sequence): boolean {
    const { id, numComputed, numRemaining, scoring, isPromptComputed } = sequence
    // With its last token in flight it never comes back.
    if (numComputed === 0 || numRemaining === 0) return false
    // Another choice may have to take over the scoring, which begins at the prompt's first token.
    if (scoring && !isPromptComputed) return false
    const numBlocks = this.kvCache.swapSize(id, numComputed)
    // Whole blocks before them are shared, and lost neither way.
    const { blockSize } = this.kvCache.config
    const numTokens = numComputed - (blocksFor(numComputed, blockSize) - numBlocks) * blockSize
    return this.preemption.swaps({ numBlocks, numTokens }) && this.kvCache.swapOut(id, numComputed)
  }

  /** Brings back what was swapped out; or shares a sibling's prompt, its group's prefix or a cached one, whichever is longest. Takes blocks for the rest. */
  #takeBlocks (sequence: Sequence): boolean {
    const { group, tokens } = sequence
    const reserveBlocks = this.running.size === 0 ? 0 : this.#watermarkBlocks + this.running.size + 1
    if (sequence.swapped) {
      sequence.scoring = false
      const kept = this.kvCache.swapIn(sequence.id, tokens, reserveBlocks)
      sequence.numComputed = kept?.numTokens ?? sequence.numComputed
      return kept !== undefined
    }
    sequence.scoring = group.awaitsScores && sequence === group.leader
    const source = sequence.scoring ? undefined : this.#forkSource(sequence)
    const found = source === undefined ? undefined : this.kvCache.matchPrefix(tokens)
    if (source !== undefined && found !== undefined && found.numTokens < source.numTokens) return this.#fork(source, sequence, reserveBlocks)
    const match = this.kvCache.admit(sequence.id, tokens, { reusePrefix: !sequence.scoring, reserveBlocks, match: found })
    sequence.numComputed = match?.numTokens ?? 0
    return match !== undefined
  }

  #forkSource (sequence: Sequence): PrefixSource | undefined {
    const sibling = sequence.group.forkSource(sequence)
    if (sibling === undefined) return this.prefixes.sourceOf(sequence)
    // The last prompt token is computed again: its logits yield this choice's own first token.
    return { holder: sibling.id, numTokens: sequence.group.numPromptTokens - 1 }
  }

  #fork ({ holder, numTokens: numShared }: PrefixSource, sequence: Sequence, reserveBlocks: number): boolean {
    const { blockSize } = this.kvCache.config
    const numTokens = sequence.tokens.length
    // A shared block that is partly used counts as new: it is copied at the first write, which is now.
    const numNew = blocksFor(numTokens, blockSize) - Math.floor(numShared / blockSize)
    if (this.kvCache.numFree < numNew + reserveBlocks) return false
    this.kvCache.fork(holder, sequence.id, numShared)
    this.kvCache.grow(sequence.id, numTokens)
    sequence.numComputed = numShared
    return true
  }

  /** Its blocks are somebody else's by now. */
  #leaveRunning (sequence: Sequence): void {
    this.running.delete(sequence)
    this.#freeRows.push(sequence.stateRow)
    sequence.stateRow = -1
  }
}
