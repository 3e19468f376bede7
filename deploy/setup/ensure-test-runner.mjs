/**
 * tap builds itself for the plugins that .taprc chooses. Left to the first run it would be built by two runs at once,
 * each tripping over the other's half-written files; so it is built here, under a lock, when .taprc or tap changes.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheFolder, projectRoot } from './cache-folder.mjs'
import { runTool } from './child-process.mjs'
import { withFileLock } from './file-lock.mjs'

const stampFile = join(projectRoot, 'node_modules', '.daybreak-tap')

export async function ensureTestRunner () {
  const facts = ['.taprc', 'node_modules/tap/package.json', 'node_modules/.daybreak-installed'].map(file => readOrEmpty(join(projectRoot, file)))
  const wanted = createHash('sha256').update(JSON.stringify(facts)).digest('hex')
  if (readOrEmpty(stampFile) === wanted) return
  const lock = createHash('sha256').update(projectRoot).digest('hex').slice(0, 16)
  await withFileLock(join(cacheFolder('locks'), `tap-${lock}`), async () => {
    if (readOrEmpty(stampFile) === wanted) return
    console.error('daybreak: building the test runner, once')
    const { code, output } = await runTool('tap', ['build'], { cwd: projectRoot, shell: process.platform === 'win32' })
    if (code !== 0) throw new Error(`tap build ended with ${code}: ${output.trim()}`)
    writeFileSync(stampFile, wanted)
  })
}

function readOrEmpty (file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
