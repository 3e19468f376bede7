import type { StepEstimate } from './step-estimate.ts'

/** Time between two looks, in milliseconds: what is late by `d` is looked for every `d / GAPS_LATE`, within these bounds. */
const MIN_GAP_MS = 0.04
const MAX_GAP_MS = 1
const GAPS_LATE = 8
/** Steps of one kind differ with their contexts. One that is much shorter than expected is found after 2, 4, 8 … milliseconds. */
const FIRST_EARLY_MS = 2
/** Longest the thread sleeps at a time: messages wait that long. Longer rests begin on a timer, which has whole milliseconds. */
const MAX_SLEEP_MS = 0.25
const TIMER_FROM_MS = 2
/** By which Linux lets a sleep overrun (PR_SET_TIMERSLACK). Steps to which that matters are waited for turning; a turn costs garbage. */
const SLACK_MS = 0.05
const SLACK_MATTERS_BELOW_MS = 0.4
const LEAST_SLEEP_MS = 0.001

/** What time is to a `PollPace`, in milliseconds. */
export interface PollTime {
  readonly now: () => number
  /** Calls back on the next turn of the event loop. */
  readonly turn: (callback: () => void) => unknown
  /** Calls back after at least `ms`, a whole number. */
  readonly after: (ms: number, callback: () => void) => unknown
  /** Blocks the thread for about `ms`. */
  readonly sleep: (ms: number) => void
}

interface AnnouncedStep {
  readonly estimate: StepEstimate
  /** When it was submitted, or the step before it was seen to have ended. */
  beganAt: number
}

/**
 * When Dawn looks for finished work: hardly before the oldest announced step may be finished, and then the less often the later it is.
 * Between looks the thread sleeps. What nobody announced is looked for at once, and the event loop keeps turning.
 */
export class PollPace {
  readonly #time: PollTime
  /** Of each device queue with work, oldest first. */
  readonly #steps = new Map<object, AnnouncedStep[]>()
  #looks: Array<() => void> = []
  #isLooking = false
  #hasJustLooked = false
  #askedAt = 0
  #lookedAt = -Infinity

  constructor (time: PollTime) {
    this.#time = time
  }

  /** A step has been submitted to `queue`. Steps of one queue run, and end, in order. */
  begin (queue: object, estimate: StepEstimate): void {
    const step = { estimate, beganAt: this.#time.now() }
    const steps = this.#steps.get(queue)
    if (steps === undefined) this.#steps.set(queue, [step])
    else steps.push(step)
  }

  /** The oldest step of `queue` has been seen to have ended, one way or another. */
  end (queue: object): void {
    const steps = this.#steps.get(queue)
    const ended = steps?.shift()
    if (steps === undefined || ended === undefined) return
    const now = this.#time.now()
    // Seen in the same look as the step before, it may have taken any time.
    if (ended.beganAt < this.#lookedAt) ended.estimate.add(now - ended.beganAt)
    const [next] = steps
    if (next === undefined) this.#steps.delete(queue)
    else next.beganAt = now
  }

  /** Has `look` called once, when it is time. */
  ask (look: () => void): void {
    if (!this.#isLooking) this.#askedAt = this.#time.now()
    if (this.#looks.push(look) === 1) this.#time.turn(this.#turn)
  }

  readonly #turn = (): void => {
    const now = this.#time.now()
    const rest = this.#nextLook() - now
    if (rest <= 0) {
      this.#look(now)
    } else if (rest > TIMER_FROM_MS) {
      this.#time.after(Math.floor(rest - 1), this.#turn)
    } else {
      // Whoever a result has woken comes first: it may be about to submit.
      if (!this.#hasJustLooked && this.#maySleep(rest)) this.#time.sleep(Math.min(Math.max(rest - SLACK_MS, LEAST_SLEEP_MS), MAX_SLEEP_MS))
      this.#hasJustLooked = false
      this.#time.turn(this.#turn)
    }
  }

  #maySleep (rest: number): boolean {
    if (this.#steps.size === 0 || rest > SLACK_MS) return this.#steps.size > 0
    for (const [oldest] of this.#steps.values()) if (oldest !== undefined && oldest.estimate.leastMs < SLACK_MATTERS_BELOW_MS) return false
    return true
  }

  #nextLook (): number {
    let from = Infinity
    for (const [oldest] of this.#steps.values()) if (oldest !== undefined) from = Math.min(from, this.#firstLook(oldest))
    if (from === Infinity) from = this.#askedAt
    if (this.#lookedAt < from) return from
    return this.#lookedAt + Math.min(Math.max((this.#lookedAt - from) / GAPS_LATE, MIN_GAP_MS), MAX_GAP_MS)
  }

  /** When the next look for a step is not yet a late one. */
  #firstLook ({ beganAt, estimate }: AnnouncedStep): number {
    const earlyMs = Math.max(2 * (this.#lookedAt - beganAt), FIRST_EARLY_MS)
    return beganAt + Math.min(estimate.leastMs, earlyMs)
  }

  #look (now: number): void {
    this.#lookedAt = now
    this.#hasJustLooked = true
    const looks = this.#looks
    this.#looks = []
    // Dawn asks for its next look from within this one.
    this.#isLooking = true
    try {
      for (const look of looks) look()
    } finally {
      this.#isLooking = false
    }
  }
}
