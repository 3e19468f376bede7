/** The program. The only file that reads the process's arguments and environment. */
import { batchCommand } from './batches/index.ts'
import { registerBenchCommand } from './bench/index.ts'
import type { CommandContext } from './cli/command-context.ts'
import { registerModelsCommand } from './cli/models-command.ts'
import { runCommandLine } from './cli/program.ts'
import { serveCommand } from './cli/serve.ts'
import { registerEvalCommand } from './eval/index.ts'
import { registerInspectCommand } from './inspect/inspect-command.ts'

const context: CommandContext = {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  onSignal: listener => {
    process.on('SIGINT', listener)
    process.on('SIGTERM', listener)
  },
  exit: code => process.exit(code)
}

const engineEntry = new URL('./engine-process/main.ts', import.meta.url)

await runCommandLine(process.argv.slice(2), context, [
  serveCommand({ engineEntry, execArgv: process.execArgv }),
  batchCommand({ engineEntry }),
  registerModelsCommand,
  registerInspectCommand,
  registerBenchCommand,
  registerEvalCommand
])
