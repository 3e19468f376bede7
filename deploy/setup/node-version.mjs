/**
 * Stops with a sentence a newcomer can act on when Node is too old. Imported first, for this effect alone;
 * it uses nothing that an old Node lacks.
 */
import { readFileSync } from 'node:fs'

const { engines } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const wanted = engines.node.replace(/[^0-9.]/g, '').split('.').map(Number)
const running = process.versions.node.split('.').map(Number)

if (running[0] < wanted[0] || (running[0] === wanted[0] && running[1] < (wanted[1] || 0))) {
  console.error(`daybreak: needs Node ${wanted.join('.')} or newer, and this is Node ${process.versions.node}. Install a current one from https://nodejs.org and try again.`)
  process.exit(1)
}
