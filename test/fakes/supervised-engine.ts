import { EventEmitter, once } from 'node:events'
import type { GenerationEvent, GenerationRequest } from '@daybreak/scheduler'
import type { TokenId } from '@daybreak/kvcache'
import { EngineSupervisor } from '../../apps/server/src/generation/engine-supervisor.ts'
import type { EngineSupervisorOptions } from '../../apps/server/src/generation/engine-supervisor.ts'
import { systemClock } from '../../apps/server/src/generation/clock.ts'
import { silentLogger } from '../../apps/server/src/cli/logger.ts'
import type { GenerationStream } from '../../apps/server/src/generation/generation-service.ts'
import { scriptedModel } from './fake-engine-script.ts'
import type { FakeEngineScript } from './fake-engine-script.ts'
import { sourceFlags } from './source-flags.ts'

export interface SupervisedEngine extends AsyncDisposable {
  readonly supervisor: EngineSupervisor
  /** Emits `ready`, `restart` (requests replayed), `failed` (failure) and `progress`. */
  readonly events: EventEmitter
}

/** A supervisor over the fake engine process; not started. */
export function aSupervisedEngine (script: FakeEngineScript = {}, options: Partial<EngineSupervisorOptions> = {}): SupervisedEngine {
  const events = new EventEmitter()
  const supervisor = new EngineSupervisor({
    entry: new URL('./fake-engine-child.ts', import.meta.url),
    execArgv: sourceFlags,
    config: {
      engine: {
        model: scriptedModel(script),
        dtype: 'auto',
        adapter: undefined,
        debug: false,
        blockSize: 16,
        kvCacheBytes: undefined,
        maxModelLen: undefined,
        maxSequences: 8,
        maxBatchedTokens: 64
      },
      scheduler: { maxBatchedTokens: undefined, prefixCaching: true, preemption: 'swap' },
      logLevel: 'info'
    },
    queue: { maxRequests: 64, maxTokens: 10_000 },
    loadTimeoutMs: 60_000,
    stallTimeoutMs: 60_000,
    // A process that hangs in a step hangs at exit too.
    exitTimeoutMs: 500,
    maxCrashesPerRequest: 3,
    restart: { initialDelayMs: 1, maxDelayMs: 1, maxFailures: 10, windowMs: 300_000 },
    clock: systemClock,
    logger: silentLogger,
    ...options
  }, {
    onProgress: progress => events.emit('progress', progress),
    onReady: capacity => events.emit('ready', capacity),
    onRestart: numReplayed => events.emit('restart', numReplayed),
    onFailed: failure => events.emit('failed', failure)
  })
  return { supervisor, events, [Symbol.asyncDispose]: async () => await supervisor[Symbol.asyncDispose]() }
}

/** Started, and ready. */
export async function aReadyEngine (script: FakeEngineScript = {}, options: Partial<EngineSupervisorOptions> = {}): Promise<SupervisedEngine> {
  const engine = aSupervisedEngine(script, options)
  const ready = once(engine.events, 'ready')
  engine.supervisor.start()
  await ready
  return engine
}

export interface RequestShape {
  readonly id?: string
  readonly promptTokens?: readonly TokenId[]
  readonly maxTokens?: number
  readonly seeds?: readonly number[]
}

/** A greedy request with one choice per seed. */
export function aRequest ({ id = 'r', promptTokens = [1, 2, 3], maxTokens = 40, seeds = [0] }: RequestShape = {}): GenerationRequest {
  return {
    id,
    promptTokens,
    maxTokens,
    choices: seeds.map(seed => ({
      outputTokens: [],
      sampling: {
        temperature: 1,
        topK: 0,
        topP: 1,
        minP: 0,
        seed,
        presencePenalty: 0,
        frequencyPenalty: 0,
        repetitionPenalty: 1,
        logitBias: [],
        numLogprobs: undefined
      }
    })),
    stopTokens: [],
    priority: 0,
    promptLogprobs: undefined
  }
}

/** Reads a stream to its end. */
export async function readAll (stream: GenerationStream): Promise<GenerationEvent[]> {
  const all: GenerationEvent[] = []
  for await (const events of stream) all.push(...events)
  return all
}

/** Reads on until this many tokens have come in all; leaves the stream open. */
export async function readTokens (iterator: AsyncIterator<readonly GenerationEvent[]>, numTokens: number): Promise<GenerationEvent[]> {
  const all: GenerationEvent[] = []
  while (tokensOf(all).length < numTokens) {
    const { done, value } = await iterator.next()
    if (done === true) break
    all.push(...value)
  }
  return all
}

export async function readRest (iterator: AsyncIterator<readonly GenerationEvent[]>): Promise<GenerationEvent[]> {
  return await readTokens(iterator, Infinity)
}

export const tokensOf = (events: readonly GenerationEvent[], choice = 0): TokenId[] =>
  events.flatMap(event => event.type === 'token' && event.choice === choice ? [event.token] : [])

export const finishesOf = (events: readonly GenerationEvent[]): string[] =>
  events.flatMap(event => event.type === 'finish' ? [event.reason] : [])

export function requirePid (pid: number | undefined): number {
  if (pid === undefined) throw new Error('there is no engine process')
  return pid
}

/** Whether no process has this id any more. */
export function isGone (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}

/** Looks again at every turn of the event loop; the test's own time limit ends a wait in vain. */
export async function waitUntil (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}
