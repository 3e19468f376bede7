/**
 * Children of set-up: tools whose output matters only when they fail, and the program itself, which takes our place.
 */
import { spawn } from 'node:child_process'

/** Windows knows only the first three. */
const forwardedSignals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'].slice(0, process.platform === 'win32' ? 3 : 5)

/**
 * @typedef {object} Outcome
 * @property {number} code exit status; 128 when the child died by a signal or could not start
 * @property {string} output stdout, then stderr
 */

/**
 * Runs a tool to its end and collects what it says.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<Outcome & { stdout: string }>}
 */
export function runTool (command, args, options = {}) {
  return new Promise(resolve => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', text => { stdout += text })
    child.stderr.setEncoding('utf8').on('data', text => { stderr += text })
    child.on('error', error => resolve({ code: 128, stdout, output: `${stdout}${stderr}${error.message}` }))
    child.on('close', code => resolve({ code: code ?? 128, stdout, output: stdout + stderr }))
  })
}

/**
 * Runs a program in our place: its stdio is ours, our signals are its signals, and its end is our end.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 */
export function becomeChild (command, args, options) {
  const child = spawn(command, args, { ...options, stdio: 'inherit' })
  // A terminal sends Ctrl-C to the whole foreground group, so the child has it already; a second one would mean "at once".
  const fromTerminal = process.stdin.isTTY === true
  const forwarders = forwardedSignals.map(signal => {
    const forward = () => { if (!(fromTerminal && signal === 'SIGINT')) child.kill(signal) }
    process.on(signal, forward)
    return () => process.off(signal, forward)
  })
  child.on('error', error => {
    console.error(`daybreak: could not start ${command}: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => {
    for (const stop of forwarders) stop()
    if (signal !== null) process.kill(process.pid, signal)
    process.exitCode = code ?? 1
  })
}
