import { Worker } from 'node:worker_threads'

// Plain JavaScript, not a module of the tree: it must start without a loader and go on when the process's own thread cannot.
const watchParent = `
const { workerData } = require('node:worker_threads')
setInterval(() => {
  if (process.ppid !== workerData.parentPid) process.kill(process.pid, 'SIGKILL')
}, workerData.intervalMs)
`

/**
 * Ends this process when its parent is gone, even while the main thread is stuck inside a driver call and cannot see the channel
 * close: a thread of its own compares the parent's process id and kills hard.
 */
export function watchParentFromThread (parentPid: number, intervalMs: number): void {
  new Worker(watchParent, { eval: true, execArgv: [], workerData: { parentPid, intervalMs } }).unref()
}
