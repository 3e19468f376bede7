/**
 * Runs tap over the tests (or the files and options named) and ends with the line `N passed, N failed`.
 * Exits 1 when anything failed, and also when nothing passed: a run that found no tests proves nothing.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { bundleTests } from './bundle-tests.mjs'
import { ensureTestRunner } from './ensure-test-runner.mjs'
import { TapSummary } from './tap-summary.mjs'

await ensureTestRunner()

const args = process.argv.slice(2).flatMap(testsBelow)
const startedAt = performance.now()
const bundles = mkdtempSync(join(tmpdir(), 'daybreak-test-bundles-'))
process.on('exit', () => rmSync(bundles, { recursive: true, force: true }))
const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    if (running.size === 0) process.exit(1)
    for (const child of running) child.kill(signal)
  })
}
// Coverage is of sources.
const isMeasured = args.includes('--no-disable-coverage')
if (!isMeasured) await bundleTests(bundles)

const child = spawn('tap', ['run', '--reporter=tap', '--no-color', ...args], {
  env: isMeasured ? process.env : { ...process.env, DAYBREAK_TEST_BUNDLES: bundles },
  stdio: ['ignore', 'pipe', 'inherit'],
  shell: process.platform === 'win32'
})
running.add(child)

const summary = new TapSummary(line => console.log(line))
const ended = once(child, 'exit')
for await (const line of createInterface({ input: child.stdout })) summary.push(line)
const [code] = await ended

// tap's own verdict stands too, for whatever it saw that is not in the lines.
const failed = summary.failed === 0 && code !== 0 ? 1 : summary.failed
console.log(`\n${summary.skipped} skipped, ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
console.log(`${summary.passed} passed, ${failed} failed`)
process.exitCode = failed > 0 || summary.passed === 0 ? 1 : 0

/** A folder stands for the tests below it; tap takes files. */
function testsBelow (arg) {
  if (arg.startsWith('-') || statSync(arg, { throwIfNoEntry: false })?.isDirectory() !== true) return [arg]
  return readdirSync(arg, { recursive: true }).filter(file => file.endsWith('.test.ts')).sort().map(file => join(arg, file))
}
