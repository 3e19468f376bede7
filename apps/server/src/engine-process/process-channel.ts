import type { EngineChannel } from './engine-process.ts'
import { watchParentFromThread } from './parent-watch.ts'

const PARENT_WATCH_MS = 1_000

/**
 * The channel of a forked process to its parent. The process then lives and dies by it: a terminal's Ctrl-C reaches the whole
 * process group, but when to stop is the parent's to say, and without a parent there is nothing to do.
 */
export function forkedProcessChannel (): EngineChannel {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  watchParentFromThread(process.ppid, PARENT_WATCH_MS)
  return {
    send: (message, sent) => {
      if (process.send === undefined || !process.connected) sent?.()
      // The callback also takes the error of a channel that closed meanwhile, which would otherwise be thrown.
      else process.send(message, undefined, undefined, () => sent?.())
    },
    onMessage: listener => { process.on('message', listener) },
    onDisconnect: listener => { process.on('disconnect', listener) },
    exit: code => process.exit(code)
  }
}
