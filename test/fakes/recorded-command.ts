import type { CommandContext, RegisterCommand } from '../../apps/server/src/cli/command-context.ts'
import { runCommandLine } from '../../apps/server/src/cli/program.ts'

export interface RecordedCommand {
  readonly stdout: string
  readonly stderr: string
  /** The first code the command exited with. */
  readonly exitCode: number | undefined
  readonly exited: Promise<number>
  signal (name: 'SIGINT' | 'SIGTERM'): void
  /** Resolves once stdout holds this text. */
  printed (text: string): Promise<void>
  /** Settles when the command line has been carried out. */
  readonly done: Promise<void>
}

/** Runs a command line in this process, with everything it would do to the process recorded instead. */
export function runRecorded (args: readonly string[], commands: readonly RegisterCommand[], env: Readonly<Record<string, string>> = {}): RecordedCommand {
  let stdout = ''
  let stderr = ''
  let exitCode: number | undefined
  let resolveExited = (_code: number): void => {}
  const exited = new Promise<number>(resolve => { resolveExited = resolve })
  const listeners: Array<(signal: 'SIGINT' | 'SIGTERM') => void> = []
  const printWaiters: Array<() => void> = []
  const context: CommandContext = {
    env,
    stdout: {
      write: text => {
        stdout += text
        for (const check of printWaiters) check()
      }
    },
    stderr: { write: text => { stderr += text } },
    onSignal: listener => { listeners.push(listener) },
    exit: code => {
      exitCode ??= code
      resolveExited(exitCode)
    }
  }
  const done = runCommandLine(args, context, commands)
  return {
    get stdout () { return stdout },
    get stderr () { return stderr },
    get exitCode () { return exitCode },
    exited,
    done,
    signal: name => { for (const listener of listeners) listener(name) },
    printed: async text => await new Promise(resolve => {
      const check = (): void => { if (stdout.includes(text)) resolve() }
      printWaiters.push(check)
      check()
    })
  }
}
