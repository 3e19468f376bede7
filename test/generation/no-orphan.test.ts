import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isGone, waitUntil } from '../fakes/supervised-engine.ts'
import { sourceFlags } from '../fakes/source-flags.ts'

t.setTimeout(180_000)

const parentModule = fileURLToPath(new URL('../fakes/parent-of-an-engine.ts', import.meta.url))

for (const [what, args] of [['waits for messages', []], ['is stuck in a call that never returns', ['--block']]] as const) {
  t.test(`an engine process whose parent is killed while it ${what} ends by itself`, async t => {
    const parent = spawn(process.execPath, [...sourceFlags, parentModule, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(createInterface({ input: parent.stdout }), 'line')
    const enginePid = Number(line)
    t.notOk(isGone(enginePid))
    parent.kill('SIGKILL')
    await waitUntil(() => isGone(enginePid))
    t.pass('it is gone')
  })
}
