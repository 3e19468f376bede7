/** The program with an engine process that has no engine, for tests of what surrounds it. */
import { runCommandLine } from '../../apps/server/src/cli/program.ts'
import { serveCommand } from '../../apps/server/src/cli/serve.ts'

await runCommandLine(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  onSignal: listener => {
    process.on('SIGINT', listener)
    process.on('SIGTERM', listener)
  },
  exit: code => process.exit(code)
}, [serveCommand({ engineEntry: new URL('./fake-engine-child.ts', import.meta.url), execArgv: process.execArgv })])
