import type { PollPace, PollTime } from '../../../packages/engine/src/device/poll-pace.ts'
import type { StepEstimate } from '../../../packages/engine/src/device/step-estimate.ts'

/** A turn of the event loop, and what a sleep takes longer than asked for; as on Linux. */
const TURN_MS = 0.003
const SLACK_MS = 0.06

/** Time that passes only by turns, timers and sleeps. */
export class StandingTime implements PollTime {
  sleptMs = 0
  timedMs = 0
  /** Called after every callback, as microtasks are. */
  afterwards: Array<() => void> = []
  #now = 0
  #turns: Array<() => void> = []
  #timers: Array<{ readonly at: number, readonly callback: () => void }> = []

  readonly now = (): number => this.#now
  readonly turn = (callback: () => void): void => { this.#turns.push(callback) }
  readonly after = (ms: number, callback: () => void): void => {
    if (!Number.isInteger(ms)) throw new RangeError(`a timer of ${ms} ms`)
    this.#timers.push({ at: this.#now + ms, callback })
    this.timedMs += ms
  }

  readonly sleep = (ms: number): void => {
    this.pass(ms + SLACK_MS)
    this.sleptMs += ms
  }

  pass (ms: number): void {
    this.#now += ms
  }

  turnOnce (): void {
    this.pass(TURN_MS)
    const due = this.#timers.filter(({ at }) => at <= this.#now).map(({ callback }) => callback)
    this.#timers = this.#timers.filter(({ at }) => at > this.#now)
    for (const callback of [...due, ...this.#turns.splice(0)]) {
      callback()
      for (const after of this.afterwards) after()
    }
  }

  /** Until nothing is left to do. */
  run (): void {
    while (this.#turns.length + this.#timers.length > 0) {
      if (this.#turns.length === 0) this.#now = Math.max(this.#now, Math.min(...this.#timers.map(({ at }) => at)))
      this.turnOnce()
    }
  }
}

/** A device whose steps run one after the other and are noticed when somebody looks, as Dawn's are. */
export class PolledDevice {
  readonly time: StandingTime
  /** From each step's end to its being noticed. */
  readonly delaysMs: number[] = []
  numLooks = 0
  /** Without work between the first step and the last. */
  idleMs = 0
  onResult: () => void = () => {}
  readonly #pace: PollPace
  readonly #ends: number[] = []
  #lastEnd = NaN
  #isAsked = false
  #numNoticed = 0

  constructor (time: StandingTime, pace: PollPace) {
    this.time = time
    this.#pace = pace
    time.afterwards.push(() => this.#deliver())
  }

  submit (ms: number, estimate: StepEstimate): void {
    const now = this.time.now()
    if (now > this.#lastEnd) this.idleMs += now - this.#lastEnd
    this.#lastEnd = Math.max(now, Number.isNaN(this.#lastEnd) ? now : this.#lastEnd) + ms
    this.#ends.push(this.#lastEnd)
    this.#pace.begin(this, estimate)
    this.#ask()
  }

  readonly #look = (): void => {
    this.#isAsked = false
    this.numLooks++
    const now = this.time.now()
    while ((this.#ends[0] ?? Infinity) <= now) {
      this.delaysMs.push(now - (this.#ends.shift() ?? now))
      this.#numNoticed++
    }
    this.#ask()
  }

  #ask (): void {
    if (this.#isAsked || this.#ends.length === 0) return
    this.#isAsked = true
    this.#pace.ask(this.#look)
  }

  #deliver (): void {
    for (; this.#numNoticed > 0; this.#numNoticed--) {
      this.#pace.end(this)
      this.onResult()
    }
  }
}
