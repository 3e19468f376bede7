/**
 * Entry of the portable bundle: finds an adapter among what the host has and what the bundle brings, then runs the program.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { projectRoot } from '../setup/cache-folder.mjs'
import { becomeChild } from '../setup/child-process.mjs'
import { ensureAdapter, needsAdapter } from '../setup/ensure-adapter.mjs'

const args = process.argv.slice(2)
const bundled = join(projectRoot, 'vulkan')

try {
  const adapter = needsAdapter(args) ? await ensureAdapter(async () => existsSync(bundled) ? bundled : undefined) : {}
  const main = join(projectRoot, 'apps', 'server', 'src', 'main.mjs')
  becomeChild(process.execPath, [main, ...args], { env: { ...process.env, ...adapter } })
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
