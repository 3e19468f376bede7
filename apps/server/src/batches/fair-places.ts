interface Waiter {
  readonly enter: () => void
}

interface Owner {
  readonly id: string
  readonly waiting: Set<Waiter>
  numHeld: number
}

/**
 * Lets only so many pieces of work run at a time, and gives each owner of such work as many places as every other, as long as there is
 * work for them: a place that is free goes to whoever has the fewest, and is nobody's for longer than somebody needs it. An owner's
 * work begins in the order in which it came. Places are not taken away: a newcomer has its share when so many others have ended.
 */
export class FairPlaces {
  readonly #most: () => number
  /** Those that have places or wait for some; the one that was given one last, or came last, is the last. */
  readonly #owners = new Map<string, Owner>()
  #numHeld = 0

  /** @param most places there are, asked whenever one may be given */
  constructor (most: () => number) {
    this.#most = most
  }

  /** @throws the signal's reason when it aborts before there is a place, what the work throws (rejects) */
  async run<Result> (ownerId: string, signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    signal.throwIfAborted()
    const owner = this.#ownerOf(ownerId)
    await this.#place(owner, signal)
    try {
      return await work()
    } finally {
      owner.numHeld--
      this.#numHeld--
      this.#settle(owner)
    }
  }

  async #place (owner: Owner, signal: AbortSignal): Promise<void> {
    let giveUp = (): void => {}
    const isGiven = await new Promise<boolean>(resolve => {
      const waiter = { enter: () => { resolve(true) } }
      giveUp = () => {
        // Whoever has been given a place has it, and sees for himself.
        if (owner.waiting.delete(waiter)) resolve(false)
      }
      signal.addEventListener('abort', giveUp, { once: true })
      owner.waiting.add(waiter)
      this.#give()
    })
    signal.removeEventListener('abort', giveUp)
    if (isGiven) return
    this.#settle(owner)
    throw signal.reason
  }

  #ownerOf (id: string): Owner {
    const owner = this.#owners.get(id) ?? { id, waiting: new Set(), numHeld: 0 }
    this.#owners.set(id, owner)
    return owner
  }

  #settle (owner: Owner): void {
    // One that has come under the same name since is another.
    if (owner.numHeld === 0 && owner.waiting.size === 0 && this.#owners.get(owner.id) === owner) this.#owners.delete(owner.id)
    this.#give()
  }

  #give (): void {
    while (this.#numHeld < Math.max(1, this.#most())) {
      let next: Owner | undefined
      for (const owner of this.#owners.values()) {
        if (owner.waiting.size > 0 && (next === undefined || owner.numHeld < next.numHeld)) next = owner
      }
      if (next === undefined) return
      const [waiter] = next.waiting
      if (waiter === undefined) return
      next.waiting.delete(waiter)
      next.numHeld++
      this.#numHeld++
      this.#owners.delete(next.id)
      this.#owners.set(next.id, next)
      waiter.enter()
    }
  }
}
