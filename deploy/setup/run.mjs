/**
 * `npm start`, `npm test` and `npm run check`, on a machine with nothing but Node and npm: makes sure of the
 * dependencies and of a Vulkan adapter, says what it does in a line each, then runs the program or a script in its place.
 *
 *   node deploy/setup/run.mjs serve --port 9000        the program, with its own arguments
 *   node deploy/setup/run.mjs --script test:tap …      a script of package.json, with more arguments
 *   node deploy/setup/run.mjs --no-adapter --script …  the same, where no GPU is needed
 */
import './node-version.mjs'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { projectRoot } from './cache-folder.mjs'
import { becomeChild } from './child-process.mjs'
import { ensureAdapter, needsAdapter } from './ensure-adapter.mjs'
import { ensureDependencies } from './ensure-dependencies.mjs'

const args = process.argv.slice(2)

try {
  if (args[0] === '--script') await runScript(args[1], args.slice(2), { withAdapter: true })
  else if (args[0] === '--no-adapter' && args[1] === '--script') await runScript(args[2], args.slice(3), { withAdapter: false })
  else await runProgram(args)
} catch (error) {
  console.error(error.message.startsWith('daybreak:') ? error.message : `daybreak: ${error.message}`)
  process.exitCode = 1
}

async function runProgram (programArgs) {
  await ensureDependencies()
  const adapter = needsAdapter(programArgs) ? await ensureAdapter() : {}
  const loader = pathToFileURL(createRequire(join(projectRoot, 'package.json')).resolve('tsx')).href
  const main = join(projectRoot, 'apps', 'server', 'src', 'main.ts')
  becomeChild(process.execPath, ['--conditions=@daybreak/source', '--import', loader, main, ...programArgs], { env: { ...process.env, ...adapter } })
}

async function runScript (name, scriptArgs, { withAdapter }) {
  const { scripts } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'))
  const script = scripts[name]
  if (script === undefined) throw new Error(`package.json has no script ${name}; it has ${Object.keys(scripts).join(', ')}`)
  await ensureDependencies()
  const adapter = withAdapter ? await ensureAdapter() : {}
  // The shell and the PATH that a package manager would give it, without waiting for one to start.
  const tools = join(projectRoot, 'node_modules', '.bin')
  const path = Object.keys(process.env).find(variable => variable.toUpperCase() === 'PATH') ?? 'PATH'
  const env = { ...process.env, ...adapter, [path]: [tools, process.env[path]].join(delimiter) }
  becomeChild([script, ...scriptArgs.map(quote)].join(' '), [], { cwd: projectRoot, shell: true, env })
}

function quote (arg) {
  if (/^[\w./:=@,+-]+$/.test(arg)) return arg
  return process.platform === 'win32' ? `"${arg.replaceAll('"', '""')}"` : `'${arg.replaceAll("'", "'\\''")}'`
}
