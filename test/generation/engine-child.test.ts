import t from 'tap'
import { EngineChild } from '../../apps/server/src/generation/engine-child.ts'
import { sourceFlags } from '../fakes/source-flags.ts'

/** MiB of the young generation of a process that has filled it. */
async function youngGenerationOf (execArgv: readonly string[]): Promise<number> {
  const lines: string[] = []
  await new Promise<void>(resolve => {
    const child = new EngineChild({
      entry: new URL('../fakes/young-generation-child.ts', import.meta.url),
      execArgv: [...sourceFlags, ...execArgv],
      onMessage: () => {},
      onLine: line => lines.push(line),
      onDeath: () => resolve()
    })
    t.teardown(() => child.kill())
  })
  return Number(lines.at(-1))
}

t.test('an engine process keeps its young generation small, unless the user says otherwise', async t => {
  const own = await youngGenerationOf([])
  t.ok(own > 0 && own <= 3, `${own} MiB`)
  const asked = await youngGenerationOf(['--max-semi-space-size=8'])
  t.ok(asked > 3, `${asked} MiB`)
})
