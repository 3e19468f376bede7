import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import type { CommandContext, RegisterCommand } from './command-context.ts'
import { SettingError } from './settings.ts'

const NARROWEST_HELP = 80

/**
 * Runs one command line (without node and script). What goes wrong is one line on stderr: exit code 2 when the line or a variable
 * is wrong, 1 when the command failed.
 */
export async function runCommandLine (args: readonly string[], context: CommandContext, commands: readonly RegisterCommand[]): Promise<void> {
  const program = createProgram(context)
  for (const register of commands) register(program, context)
  try {
    await program.parseAsync(args, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help that was asked for is no mistake; its own errors have been printed.
      context.exit(error.exitCode === 0 ? 0 : 2)
    } else if (error instanceof SettingError) {
      context.stderr.write(`daybreak: ${error.message}\n`)
      context.exit(2)
    } else {
      context.stderr.write(`daybreak: ${error instanceof Error ? error.message : String(error)}\n`)
      context.exit(1)
    }
  }
}

function createProgram ({ stdout, stderr }: CommandContext): Command {
  return new Command('daybreak')
    .description('OpenAI-compatible LLM server on any GPU, through WebGPU')
    .version(version(), '-V, --version')
    .helpCommand(false)
    .showHelpAfterError('(--help lists what there is)')
    .exitOverride()
    .configureOutput({
      writeOut: text => { stdout.write(text) },
      writeErr: text => { stderr.write(text) },
      getOutHelpWidth: () => Math.max(NARROWEST_HELP, stdout.columns ?? 0),
      getErrHelpWidth: () => Math.max(NARROWEST_HELP, stderr.columns ?? 0),
      getOutHasColors: () => stdout.isTTY === true,
      getErrHasColors: () => stderr.isTTY === true,
      outputError: (text, write) => write(text.replace(/^error: /, 'daybreak: '))
    })
}

/** The package's version: one for the whole workspace. */
export function version (): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const found = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : undefined
  return typeof found === 'string' ? found : 'unknown'
}
