/** Entry of the engine process. Forked by the server, never run by hand. */
import { openEngine } from '@daybreak/engine'
import { composeCore } from './compose.ts'
import { runEngineProcess } from './engine-process.ts'
import { forkedProcessChannel } from './process-channel.ts'

runEngineProcess(async (config, listener) => {
  const engine = await openEngine({ ...config.engine, onProgress: progress => listener.onProgress(progress) })
  return composeCore(engine, config, listener)
}, forkedProcessChannel())
