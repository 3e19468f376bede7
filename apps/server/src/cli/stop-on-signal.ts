import type { CommandContext } from './command-context.ts'

/** 128 and the signal's number, as shells report it. */
export const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/** The first SIGTERM or SIGINT drains and exits with 0, the second exits at once. */
export function stopOnSignal (server: { stop (): Promise<void> }, context: Pick<CommandContext, 'onSignal' | 'exit' | 'stderr'>): void {
  let stopping = false
  context.onSignal(signal => {
    if (stopping) {
      context.exit(SIGNAL_EXIT_CODES[signal])
      return
    }
    stopping = true
    server.stop().then(() => context.exit(0), (error: unknown) => {
      context.stderr.write(`daybreak: ${error instanceof Error ? error.message : String(error)}\n`)
      context.exit(1)
    })
  })
}
