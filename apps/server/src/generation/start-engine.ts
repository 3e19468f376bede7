import type { LoadProgress } from '@daybreak/engine'
import { silentLogger } from '../cli/logger.ts'
import type { EngineProcessConfig } from '../engine-process/protocol.ts'
import { systemClock } from './clock.ts'
import { EngineSupervisor } from './engine-supervisor.ts'
import { EngineStartError } from './errors.ts'
import { defaultRestartLimits } from './restart-policy.ts'

export interface StartEngineOptions {
  readonly config: Omit<EngineProcessConfig, 'incarnation'>
  readonly onProgress: (progress: LoadProgress) => void
  /** The engine process's module; a bundle keeps it elsewhere. */
  readonly entry?: URL | undefined
}

/**
 * An engine process under the server's own supervisor, ready to generate, for commands that have no server. The caller disposes of it.
 * @throws EngineStartError (rejects)
 */
export async function startEngine ({ config, onProgress, entry }: StartEngineOptions): Promise<EngineSupervisor> {
  let ready = () => {}
  let fail = (_error: Error) => {}
  const started = new Promise<void>((resolve, reject) => {
    ready = resolve
    fail = reject
  })
  const supervisor = new EngineSupervisor({
    entry: entry ?? new URL('../engine-process/main.ts', import.meta.url),
    execArgv: process.execArgv,
    config,
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
    onProgress,
    onReady: () => ready(),
    onFailed: ({ code, message }) => fail(new EngineStartError(message, { engineCode: code }))
  })
  supervisor.start()
  await started
  return supervisor
}
