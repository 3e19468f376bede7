import type { PendingRequest } from './pending-request.ts'

/** A death that no request in particular can have caused is more likely the machine's doing than one of theirs. */
const UNCLEAR_SUSPICION = 0.5

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
   * Takes note of an engine's death. The requests it was computing and that had not proven themselves are one step nearer to being
   * given up, and those that had are cleared; where there is no such difference, all it had are half a step nearer. `series` says
   * whether the death before was recent: one by itself accuses nobody of the earlier ones. Returns the requests to give up.
   */
  blame (pending: Iterable<PendingRequest>, series: boolean): PendingRequest[] {
    const all = [...pending]
    if (!series) for (const request of all) request.suspicion = 0
    const present = all.filter(request => request.sent)
    const accused = present.filter(request => request.computing && !request.proven)
    for (const request of present) {
      if (accused.length === 0) request.suspicion += UNCLEAR_SUSPICION
      else if (request.proven) request.suspicion = 0
      request.sent = false
    }
    for (const request of accused) request.suspicion++
    return all.filter(request => request.suspicion >= this.#maxCrashes)
  }

  #isSuspect (request: PendingRequest): boolean {
    return request.suspicion >= this.#maxCrashes - 1
  }
}
