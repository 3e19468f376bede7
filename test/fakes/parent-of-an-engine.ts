/** A process that starts a fake engine process, says its id, and waits: for tests to kill. */
import { aReadyEngine } from './supervised-engine.ts'

const engine = await aReadyEngine({ blockWhenReady: process.argv.includes('--block') })
process.stdout.write(`${engine.supervisor.enginePid}\n`)
