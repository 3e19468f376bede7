import type { EngineOptions, LoadProgress } from '@daybreak/engine'
import { silentLogger } from '../cli/logger.ts'
import { systemClock } from '../generation/clock.ts'
import { EngineSupervisor } from '../generation/engine-supervisor.ts'
import { defaultRestartLimits } from '../generation/restart-policy.ts'
import { EvalEngineError } from './errors.ts'
import type { ModelSource } from '../models/index.ts'

export interface InProcessEngineOptions {
  readonly model: ModelSource
  readonly dtype: EngineOptions['dtype']
  readonly adapter: string | undefined
  readonly maxModelLen: number
  readonly maxSequences: number
  readonly prefixCaching: boolean
  readonly onProgress: (progress: LoadProgress) => void
  /** The engine process's module; a bundle keeps it elsewhere. */
  readonly entry?: URL
}

/**
 * An engine process under the server's own supervisor, ready to generate. The caller disposes of it.
 * @throws EvalEngineError (rejects) when it cannot be started
 */
export async function startInProcessEngine (options: InProcessEngineOptions): Promise<EngineSupervisor> {
  let ready = () => {}
  let fail = (_error: Error) => {}
  const started = new Promise<void>((resolve, reject) => {
    ready = resolve
    fail = reject
  })
  const supervisor = new EngineSupervisor({
    entry: options.entry ?? new URL('../engine-process/main.ts', import.meta.url),
    execArgv: process.execArgv,
    config: {
      engine: {
        model: options.model,
        dtype: options.dtype,
        adapter: options.adapter,
        debug: false,
        blockSize: 16,
        kvCacheBytes: undefined,
        maxModelLen: options.maxModelLen,
        maxSequences: options.maxSequences,
        maxBatchedTokens: 2048
      },
      scheduler: { maxBatchedTokens: undefined, prefixCaching: options.prefixCaching },
      logLevel: 'silent'
    },
    // Nobody waits at a terminal here for the first token: patience costs nothing, and a software adapter compiles for minutes.
    loadTimeoutMs: 600_000,
    stallTimeoutMs: 300_000,
    exitTimeoutMs: 10_000,
    restart: defaultRestartLimits,
    queue: { maxRequests: 4096, maxTokens: 2 ** 31 },
    maxCrashesPerRequest: 2,
    clock: systemClock,
    logger: silentLogger
  }, {
    onProgress: options.onProgress,
    onReady: () => ready(),
    onFailed: ({ code, message }) => fail(new EvalEngineError(message, { engineCode: code }))
  })
  supervisor.start()
  await started
  return supervisor
}
