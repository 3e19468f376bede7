/** The engine process: takes the server's messages, drives the engine, and answers with one message per step. */
import type { GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import type { ComposeEngine, EngineCore } from './engine-core.ts'
import { parseParentMessage } from './protocol.ts'
import type { ChildMessage, EngineProcessConfig, ParentMessage } from './protocol.ts'
import { encodeStep } from './step-message.ts'

/** The process's end of the channel, and its exit; an interface so that tests run without a process. */
export interface EngineChannel {
  /** `sent` is called when the message has left this process, or cannot. */
  send (message: ChildMessage, sent?: () => void): void
  onMessage (listener: (message: unknown) => void): void
  onDisconnect (listener: () => void): void
  exit (code: number): void
}

/** Serves one parent until `shutdown`, a fatal error, or the channel's end. */
export function runEngineProcess (compose: ComposeEngine, channel: EngineChannel): void {
  let core: EngineCore | undefined
  let ended = false

  const end = async (code: number): Promise<void> => {
    if (ended) return
    ended = true
    await core?.[Symbol.asyncDispose]()
    channel.exit(code)
  }
  // The device may be beyond freeing after a fatal error, and without a parent nobody would notice a dispose that hangs.
  const fatal = (error: unknown): void => {
    if (ended) return
    ended = true
    channel.send({ type: 'fatal', code: codeOf(error), message: messageOf(error) }, () => channel.exit(1))
  }
  const open = async (config: EngineProcessConfig): Promise<void> => {
    const reporter = new StatsReporter(channel)
    const opened = await compose(config, {
      onProgress: progress => channel.send({ type: 'progress', progress }),
      onEvents: (events, summary) => {
        if (core === undefined) return
        reporter.sent(core.stats)
        channel.send(encodeStep(events, core.stats, summary))
      },
      onFatal: fatal
    })
    core = opened
    channel.send({ type: 'ready', capacity: opened.capacity, report: opened.report })
    reporter.start(() => opened.stats)
    statsChanged = () => reporter.mayHaveChanged()
  }
  let statsChanged = (): void => {}

  const generate = (request: GenerationRequest): void => {
    // Refusing would fail it for good; unanswered, the parent has it done by the next process.
    if (ended) return
    try {
      if (core === undefined) throw new Error('the engine is still loading')
      core.generate(request)
    } catch (error) {
      channel.send({ type: 'rejected', id: request.id, code: codeOf(error), message: messageOf(error), details: detailsOf(error) })
    }
  }
  const handle = (message: ParentMessage): void => {
    switch (message.type) {
      case 'configure': open(message.config).catch(fatal); return
      case 'shutdown': end(0).catch(fatal); return
      case 'generate': generate(message.request); break
      case 'abort': core?.abort(message.id, message.choice); break
      case 'pause': core?.pause(message.id); break
      case 'resume': core?.resume(message.id); break
      default: message satisfies never
    }
    statsChanged()
  }

  channel.onMessage(value => {
    const message = parseParentMessage(value)
    if (message === undefined) fatal(new TypeError('a message that is not of the engine protocol'))
    else handle(message)
  })
  channel.onDisconnect(() => channel.exit(0))
}

/** Sends the scheduler's snapshot when it changed without a step, at most once per turn of the event loop. */
class StatsReporter {
  readonly #channel: EngineChannel
  #snapshot: (() => SchedulerStats) | undefined
  #last: SchedulerStats | undefined
  #scheduled = false

  constructor (channel: EngineChannel) {
    this.#channel = channel
  }

  start (snapshot: () => SchedulerStats): void {
    this.#snapshot = snapshot
  }

  /** A step's message carries the snapshot too. */
  sent (stats: SchedulerStats): void {
    this.#last = stats
  }

  mayHaveChanged (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const stats = this.#snapshot?.()
      if (stats === undefined || sameStats(stats, this.#last)) return
      this.#last = stats
      this.#channel.send({ type: 'stats', stats })
    })
  }
}

function sameStats (a: SchedulerStats, b: SchedulerStats | undefined): boolean {
  return b !== undefined && a.numRunning === b.numRunning && a.numWaiting === b.numWaiting && a.numBackground === b.numBackground &&
    a.waitingTokens === b.waitingTokens && a.kvCacheUsage === b.kvCacheUsage && a.numSwapped === b.numSwapped && a.hostTierUsage === b.hostTierUsage && a.numSteps === b.numSteps
}

function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'ENGINE_UNEXPECTED'
}

const detailsOf = (error: unknown): unknown => error instanceof Error && 'details' in error ? error.details : undefined

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)
