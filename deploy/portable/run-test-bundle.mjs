/**
 * Runs bundled tests, each file in a process of its own, and ends with their total. It exits 1 when anything failed, and also when
 * nothing passed. A missing adapter is a failure here, as on CI: the folder is made for hosts that have one.
 *
 *   node run-tests.mjs [--jobs 2] [--timeout-seconds 600] [part of a file's name …]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { TapSummary } from '../setup/tap-summary.mjs'

const { positionals, values: { jobs, 'timeout-seconds': timeoutSeconds } } = parseArgs({
  allowPositionals: true,
  options: { jobs: { type: 'string', default: '2' }, 'timeout-seconds': { type: 'string', default: '600' } }
})
const root = fileURLToPath(new URL('../../', import.meta.url))
const nameOf = file => file.replaceAll('--', '/').replace(/\.mjs$/, '.ts')
const files = readdirSync(join(root, 'code'))
  .filter(file => file.endsWith('.test.mjs') && (positionals.length === 0 || positionals.some(part => nameOf(file).includes(part))))
  .sort()

const total = { passed: 0, failed: 0, skipped: 0 }
const startedAt = performance.now()
const waiting = files.values()
await Promise.all(Array.from({ length: Number(jobs) }, async () => { for (const file of waiting) await runFile(file) }))
console.log(`\n${files.length} files, ${((performance.now() - startedAt) / 1000).toFixed(1)} s\ntotal: ${told(total)}`)
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0

async function runFile (file) {
  const lines = []
  // Beneath a file's own line, tap's lines are those of a whole run.
  const summary = new TapSummary(line => { if (line.startsWith(' ')) lines.push(line) })
  const begunAt = performance.now()
  const child = spawn(process.execPath, [join(root, 'code', file)], { cwd: root, env: { CI: 'true', ...process.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let late = false
  const timer = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, Number(timeoutSeconds) * 1000)
  const ended = once(child, 'close')
  const complaints = []
  createInterface({ input: child.stderr }).on('line', line => complaints.push(line))
  summary.push(`# Subtest: ${nameOf(file)}`)
  for await (const line of createInterface({ input: child.stdout })) summary.push(`    ${line}`)
  const [code, signal] = await ended
  clearTimeout(timer)
  const empty = code === 0 && summary.passed + summary.failed + summary.skipped === 0
  summary.push(`${code === 0 ? '' : 'not '}ok 1 - ${nameOf(file)}${empty ? ' # SKIP no tests found' : ''}`)
  if (summary.failed > 0) {
    if (code !== 0 && code !== 1) lines.push(`  ended by ${late ? `the limit of ${timeoutSeconds} s` : signal ?? `exit code ${code}`}`)
    lines.push(...complaints.slice(-20).map(line => `  stderr: ${line}`))
  }
  console.log([`${nameOf(file)}: ${told(summary)}  (${((performance.now() - begunAt) / 1000).toFixed(1)} s)`, ...lines].join('\n'))
  for (const outcome of Object.keys(total)) total[outcome] += summary[outcome]
}

function told ({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}
