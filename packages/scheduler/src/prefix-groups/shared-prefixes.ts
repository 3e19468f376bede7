import { sequenceId } from '@daybreak/kvcache'
import type { KVCache, SequenceId, TokenId } from '@daybreak/kvcache'
import { invariant, InvalidRequestError } from '../errors.ts'
import type { Sequence, SequenceGroup } from '../sequence.ts'

interface SharedPrefix {
  /** Holds the blocks while they are kept: a sequence of the KV cache's own, of these tokens and nothing else. */
  readonly holder: SequenceId
  /** A multiple of the block size. */
  readonly numTokens: number
  /** Some member's prompt, which begins with the prefix. */
  readonly tokens: readonly TokenId[]
  readonly members: Set<SequenceGroup>
  /** Who computes it for all, as long as that one runs. */
  computing: Sequence | undefined
  kept: boolean
}

/** What a sequence shares with its group. */
export interface PrefixSource {
  readonly holder: SequenceId
  readonly numTokens: number
}

/**
 * Prefixes of groups of requests: who waits for one that another computes, and the blocks of those that are computed, held until
 * their last member is finished or memory is short. Releasing them loses work, never correctness: the next member computes anew.
 */
export class SharedPrefixes {
  readonly #kvCache: KVCache
  readonly #prefixes = new Map<string, SharedPrefix>()
  #numKept = 0

  constructor (kvCache: KVCache) {
    this.#kvCache = kvCache
  }

  /** Prefixes whose blocks are held. */
  get numKept (): number {
    return this.#numKept
  }

  /**
   * A request has come. A prefix that fills no block is nobody's.
   * @throws InvalidRequestError, with nothing changed, when its prompt does not begin as the others do
   */
  join (group: SequenceGroup): void {
    const { prefixGroup, promptTokens, numPromptTokens } = group
    if (prefixGroup === undefined) return
    const known = this.#prefixes.get(prefixGroup.id)
    if (known === undefined) {
      const { blockSize } = this.#kvCache.config
      const numTokens = Math.floor(Math.min(prefixGroup.length, numPromptTokens) / blockSize) * blockSize
      if (numTokens === 0) return
      const holder = sequenceId(`prefix of ${prefixGroup.id}`)
      this.#prefixes.set(prefixGroup.id, { holder, numTokens, tokens: promptTokens, members: new Set([group]), computing: undefined, kept: false })
      return
    }
    for (let i = 0; i < known.numTokens; i++) {
      if (promptTokens[i] === known.tokens[i]) continue
      throw new InvalidRequestError('the prompt does not begin with the prefix of its group', { id: group.id, prefixGroup: prefixGroup.id, position: i })
    }
    known.members.add(group)
  }

  /** A request is finished. */
  leave (group: SequenceGroup): void {
    const prefix = this.#of(group)
    if (prefix?.members.delete(group) !== true || prefix.members.size > 0) return
    this.#release(prefix)
    this.#prefixes.delete(group.prefixGroup?.id ?? '')
  }

  /** Another member is computing what this sequence begins with, and will be done before long. */
  isComputedByOther (sequence: Sequence): boolean {
    const prefix = this.#of(sequence.group)
    return prefix !== undefined && !prefix.kept && prefix.computing !== sequence && isComputing(prefix)
  }

  /** What a sequence can fork from. Its last prompt token is its own to compute. */
  sourceOf ({ group }: Sequence): PrefixSource | undefined {
    const prefix = this.#of(group)
    if (prefix === undefined || !prefix.kept) return undefined
    return { holder: prefix.holder, numTokens: Math.min(prefix.numTokens, group.numPromptTokens - 1) }
  }

  /** A sequence runs from now on: if nobody else does it, it computes its group's prefix. */
  admitted (sequence: Sequence): void {
    const prefix = this.#of(sequence.group)
    if (prefix !== undefined && !prefix.kept && !isComputing(prefix)) prefix.computing = sequence
  }

  /** More of a running sequence has been scheduled: keeps the prefix's blocks when that is all of it and others may want it. */
  advanced (sequence: Sequence): void {
    const prefix = this.#of(sequence.group)
    if (prefix === undefined || prefix.kept || sequence.numComputed < prefix.numTokens || prefix.members.size === 1) return
    this.#kvCache.fork(sequence.id, prefix.holder, prefix.numTokens)
    prefix.kept = true
    this.#numKept++
  }

  /**
   * Gives back the blocks of one prefix that only waiting members want, the one that is served last.
   * @param before only a prefix whose members all come behind this sequence
   * @returns false when there is none
   */
  makeRoom (before?: Sequence): boolean {
    let last: { readonly prefix: SharedPrefix, readonly next: Sequence } | undefined
    for (const prefix of this.#prefixes.values()) {
      const next = prefix.kept ? firstWaiting(prefix) : undefined
      if (next === undefined || (before !== undefined && !before.precedes(next))) continue
      if (last === undefined || last.next.precedes(next)) last = { prefix, next }
    }
    if (last !== undefined) this.#release(last.prefix)
    return last !== undefined
  }

  /** Gives back all blocks, wanted or not: whoever forked from them keeps them. @returns false when there are none */
  releaseAll (): boolean {
    const anyKept = this.#numKept > 0
    for (const prefix of this.#prefixes.values()) this.#release(prefix)
    return anyKept
  }

  /** @throws SchedulerInvariantError. For tests and debugging. */
  checkInvariants (): void {
    let numKept = 0
    for (const [id, { members, kept, numTokens }] of this.#prefixes) {
      invariant(members.size > 0, 'prefix of nobody', { id })
      invariant(numTokens > 0 && numTokens % this.#kvCache.config.blockSize === 0, 'prefix ends within a block', { id, numTokens })
      for (const { isFinished, id: member } of members) invariant(!isFinished, 'finished member of a group', { id, member })
      if (kept) numKept++
    }
    invariant(numKept === this.#numKept, 'kept prefixes miscounted', { numKept })
  }

  #of ({ prefixGroup }: SequenceGroup): SharedPrefix | undefined {
    return prefixGroup === undefined ? undefined : this.#prefixes.get(prefixGroup.id)
  }

  #release (prefix: SharedPrefix): void {
    if (!prefix.kept) return
    this.#kvCache.release(prefix.holder)
    prefix.kept = false
    this.#numKept--
  }
}

function isComputing ({ computing, numTokens }: SharedPrefix): boolean {
  return computing !== undefined && computing.phase === 'running' && !computing.group.paused && computing.numComputed < numTokens
}

/** The member that is served next; undefined when one is running. */
function firstWaiting ({ members }: SharedPrefix): Sequence | undefined {
  let first: Sequence | undefined
  for (const { sequences } of members) {
    for (const sequence of sequences) {
      if (sequence.phase === 'running') return undefined
      if (sequence.phase === 'waiting' && (first === undefined || sequence.precedes(first))) first = sequence
    }
  }
  return first
}
