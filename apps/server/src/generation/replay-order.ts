import type { PendingRequest } from './pending-request.ts'

/** A death among requests that had all made progress weighs half: it is more likely the machine's doing than one of theirs. */
const PROVEN_SUSPICION = 0.5

/**
 * In what order unfinished requests go to a new engine process. Requests that were there at two deaths in a row are suspects: they
 * are sent one at a time, each after the one before it has proven itself, so that the next death points at one of them only.
 */
export class ReplayOrder {
  readonly #maxCrashes: number

  constructor (maxCrashes: number) {
    this.#maxCrashes = maxCrashes
  }

  /** The requests to send now. */
  next (pending: Iterable<PendingRequest>): PendingRequest[] {
    const unsent: PendingRequest[] = []
    let suspectInFlight = false
    for (const request of pending) {
      if (!request.sent) unsent.push(request)
      // A paused reader holds its own request back, not the others.
      else if (this.#isSuspect(request) && !request.proven && !request.paused) suspectInFlight = true
    }
    const chosen = unsent.filter(request => !this.#isSuspect(request))
    const suspect = unsent.find(request => this.#isSuspect(request))
    return suspect === undefined || suspectInFlight ? chosen : [...chosen, suspect]
  }

  /**
   * Takes note of an engine's death: every request it had is one crash nearer to being given up, unless it had proven itself and
   * another had not. `series` says whether the death before was recent; a death by itself accuses nobody of the earlier ones.
   * Returns the requests to give up.
   */
  blame (pending: Iterable<PendingRequest>, series: boolean): PendingRequest[] {
    const all = [...pending]
    if (!series) for (const request of all) request.suspicion = 0
    const present = all.filter(request => request.sent)
    const unproven = present.filter(request => !request.proven)
    for (const request of unproven) request.suspicion++
    for (const request of present) {
      if (request.proven) request.suspicion = unproven.length > 0 ? 0 : request.suspicion + PROVEN_SUSPICION
      request.sent = false
    }
    return all.filter(request => request.suspicion >= this.#maxCrashes)
  }

  #isSuspect (request: PendingRequest): boolean {
    return request.suspicion >= this.#maxCrashes - 1
  }
}
