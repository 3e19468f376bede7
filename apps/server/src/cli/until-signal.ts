import type { CommandContext } from './command-context.ts'
import { SIGNAL_EXIT_CODES } from './stop-on-signal.ts'

/**
 * Does work that the first SIGINT or SIGTERM ends: its signal aborts, and when it has put away what it had, the process ends with a line
 * that says so. A second one ends the process at once. Once the work is done, signals are somebody else's matter.
 * @returns undefined when the process is ending. @throws what the work rejects with of its own accord
 */
export async function untilSignal<Result> (
  context: Pick<CommandContext, 'onSignal' | 'exit' | 'stderr'>, work: (signal: AbortSignal) => Promise<Result>
): Promise<{ readonly result: Result } | undefined> {
  const interruption = new AbortController()
  let exitCode: number | undefined
  let isDone = false
  context.onSignal(name => {
    if (isDone) return
    if (exitCode !== undefined) context.exit(exitCode)
    exitCode = SIGNAL_EXIT_CODES[name]
    interruption.abort()
  })
  const settled = await work(interruption.signal).then(result => ({ result }), (error: unknown) => ({ error }))
  isDone = true
  if (exitCode === undefined) {
    if ('error' in settled) throw settled.error
    return settled
  }
  const wasDownloading = 'error' in settled && settled.error instanceof Error && 'code' in settled.error && settled.error.code === 'DOWNLOAD_INTERRUPTED'
  context.stderr.write(`daybreak: interrupted${wasDownloading ? '; what has been downloaded is kept, and the same command goes on from there' : ''}\n`)
  context.exit(exitCode)
  return undefined
}
