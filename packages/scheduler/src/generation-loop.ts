import type { ForwardBatch, ModelRunner, StepResult } from '@daybreak/engine/contract'
import type { Clock } from './clock.ts'
import { LoopStoppedError } from './errors.ts'
import type { GenerationEvent, GenerationRequest, SchedulerStats } from './generation.ts'
import type { Scheduler } from './scheduler.ts'

export interface StepSummary {
  readonly numTokens: number
  readonly numSequences: number
  /** Host time for scheduling, encoding and submitting. */
  readonly hostSeconds: number
  readonly deviceSeconds: number
}

export interface GenerationListener {
  /** Events in order, in arrays as they come about; `summary` when they end a step, which may have no event. */
  onEvents (events: readonly GenerationEvent[], summary: StepSummary | undefined): void
  /** Called once, when the runner rejects or anything else breaks: the loop has ended, and nothing follows. */
  onFailure (error: unknown): void
}

export interface GenerationLoopOptions {
  readonly scheduler: Scheduler
  /** Borrowed: whoever made it disposes of it, after this loop. */
  readonly runner: ModelRunner
  readonly clock: Clock
  readonly listener: GenerationListener
  /** Steps submitted and not completed; 2 lets the host prepare one while the device runs the other. */
  readonly stepsInFlight?: number
}

/** A result or its failure, so that a rejection behind the one being awaited is never unhandled. */
type Outcome = { readonly ok: true, readonly result: StepResult } | { readonly ok: false, readonly error: unknown }

interface SubmittedStep {
  readonly batch: ForwardBatch
  readonly scheduleSeconds: number
  readonly outcome: Promise<Outcome>
}

/**
 * Drives scheduler and runner: schedule, execute, complete, with the next step submitted before the last has returned. Runs
 * from construction on, sleeps while there is nothing to do, and gives the event loop a turn at every step.
 */
export class GenerationLoop implements AsyncDisposable {
  readonly #scheduler: Scheduler
  readonly #runner: ModelRunner
  readonly #clock: Clock
  readonly #listener: GenerationListener
  readonly #depth: number
  readonly #submitted: SubmittedStep[] = []
  readonly #ended: Promise<void>
  #stopped = false
  #wake: () => void = () => {}
  #woken: Promise<void> = Promise.resolve()

  constructor ({ scheduler, runner, clock, listener, stepsInFlight = 2 }: GenerationLoopOptions) {
    this.#scheduler = scheduler
    this.#runner = runner
    this.#clock = clock
    this.#listener = listener
    this.#depth = stepsInFlight
    this.#sleepUntilWoken()
    this.#ended = this.#run()
  }

  get stats (): SchedulerStats {
    return this.#scheduler.stats()
  }

  /** Queues a request. @throws what `Scheduler.add` throws; LoopStoppedError after disposal or failure. */
  add (request: GenerationRequest): void {
    if (this.#stopped) throw new LoopStoppedError('the generation loop has ended', { id: request.id })
    this.#scheduler.add(request)
    this.#changed()
  }

  /** Ends one choice, or all; its last event is delivered before this returns. */
  abort (id: string, choice?: number): void {
    this.#scheduler.abort(id, choice)
    this.#changed()
  }

  pause (id: string): void {
    this.#scheduler.pause(id)
  }

  resume (id: string): void {
    this.#scheduler.resume(id)
    this.#changed()
  }

  /** Ends the loop once the steps already submitted have returned. Unfinished requests get no further events. */
  async [Symbol.asyncDispose] (): Promise<void> {
    this.#stopped = true
    this.#wake()
    await this.#ended
  }

  async #run (): Promise<void> {
    try {
      while (!this.#stopped) {
        this.#sleepUntilWoken()
        this.#submit()
        await this.#resultOrWake()
        // Results can come without the event loop turning, and messages waiting outside must not starve.
        await new Promise(resolve => setImmediate(resolve))
      }
    } catch (error) {
      this.#stopped = true
      this.#listener.onFailure(error)
    }
    await Promise.all(this.#submitted.map(({ outcome }) => outcome))
  }

  /** Fills the device's queue as far as the scheduler has work for it. */
  #submit (): void {
    while (this.#submitted.length < this.#depth) {
      const startedAt = this.#clock.now()
      const batch = this.#scheduler.schedule()
      const scheduleSeconds = this.#clock.now() - startedAt
      if (batch !== undefined) this.#submitted.push({ batch, scheduleSeconds, outcome: settled(this.#runner.execute(batch)) })
      this.#deliver(this.#scheduler.takeEvents(), undefined)
      if (batch === undefined) return
    }
  }

  /** Waits for the oldest step and completes it; new work ends the wait early if the device's queue has room for it. */
  async #resultOrWake (): Promise<void> {
    const oldest = this.#submitted[0]
    if (oldest === undefined) return await this.#wokenWithin(this.#scheduler.secondsToAskAgain)
    const hasRoom = this.#submitted.length < this.#depth
    const outcome = await (hasRoom ? Promise.race([oldest.outcome, this.#woken]) : oldest.outcome)
    if (outcome === undefined) return
    this.#submitted.shift()
    if (!outcome.ok) throw outcome.error
    const { batch, scheduleSeconds } = oldest
    const { hostSeconds, deviceSeconds } = outcome.result
    // What only copies blocks tells nothing about computing.
    this.#deliver(this.#scheduler.complete(batch, outcome.result), batch.sequences.length === 0
      ? undefined
      : {
          numTokens: batch.sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0),
          numSequences: batch.sequences.length,
          hostSeconds: scheduleSeconds + hostSeconds,
          deviceSeconds
        })
  }

  async #wokenWithin (seconds: number | undefined): Promise<void> {
    if (seconds === undefined) return await this.#woken
    const timer = setTimeout(this.#wake, 1000 * seconds)
    try {
      await this.#woken
    } finally {
      clearTimeout(timer)
    }
  }

  /** Something arrived from outside a step. */
  #changed (): void {
    this.#deliver(this.#scheduler.takeEvents(), undefined)
    this.#wake()
  }

  #deliver (events: readonly GenerationEvent[], summary: StepSummary | undefined): void {
    if (events.length > 0 || summary !== undefined) this.#listener.onEvents(events, summary)
  }

  #sleepUntilWoken (): void {
    this.#woken = new Promise(resolve => { this.#wake = resolve })
  }
}

async function settled (result: Promise<StepResult>): Promise<Outcome> {
  try {
    return { ok: true, result: await result }
  } catch (error) {
    return { ok: false, error }
  }
}
