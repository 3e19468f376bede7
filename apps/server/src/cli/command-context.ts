/**
 * What a subcommand may touch of the process: only `main.ts` reads `process.env` and `process.argv`, everything else is handed this.
 */
import type { Command } from 'commander'

/** Where a command writes. `isTTY` decides on colours and progress bars; `columns` is the terminal's width when known. */
export interface OutputStream {
  write (text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  /** Calls the listener at every SIGINT and SIGTERM, which then no longer end the process by themselves. */
  onSignal (listener: (signal: 'SIGINT' | 'SIGTERM') => void): void
  /** Ends the process. 0: done, 1: it failed, 2: the command line was wrong. */
  exit (code: number): void
}

/**
 * Adds one subcommand (its options, its help, its action) to the program. The action may be async: what it rejects with is
 * printed as one line, and the exit code is 1.
 */
export type RegisterCommand = (program: Command, context: CommandContext) => void
