/**
 * Starts compare.ts as `npm start` starts the program: with the dependencies installed and a Vulkan adapter found. llama.cpp may
 * neither download nor build anything.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { projectRoot } from '../../../deploy/setup/cache-folder.mjs'
import { becomeChild } from '../../../deploy/setup/child-process.mjs'
import { ensureAdapter } from '../../../deploy/setup/ensure-adapter.mjs'
import { ensureDependencies } from '../../../deploy/setup/ensure-dependencies.mjs'

await ensureDependencies()
const env = { ...process.env, ...await ensureAdapter(), NODE_LLAMA_CPP_SKIP_DOWNLOAD: 'true' }
const loader = pathToFileURL(createRequire(join(projectRoot, 'package.json')).resolve('tsx')).href
const script = join(import.meta.dirname, 'compare.ts')
becomeChild(process.execPath, ['--conditions=@daybreak/source', '--import', loader, script, ...process.argv.slice(2)], { env })
