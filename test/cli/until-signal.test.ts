import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { CommandContext } from '../../apps/server/src/cli/command-context.ts'
import { untilSignal } from '../../apps/server/src/cli/until-signal.ts'
import { sha256 } from '../fakes/fake-hub.ts'
import { hubFixture, weights } from '../models/hub/hub-fixture.ts'
import { sourceFlags } from '../fakes/source-flags.ts'

const main = fileURLToPath(new URL('../../apps/server/src/main.ts', import.meta.url))

/** A context that records, and the signals it gets. */
function aContext () {
  const codes: number[] = []
  const lines: string[] = []
  let listener: Parameters<CommandContext['onSignal']>[0] = () => {}
  return {
    codes,
    lines,
    signal: (name: 'SIGINT' | 'SIGTERM') => { listener(name) },
    context: { onSignal: (given: typeof listener) => { listener = given }, exit: (code: number) => { codes.push(code) }, stderr: { write: (text: string) => { lines.push(text) } } }
  }
}

/** Work that ends when its signal aborts. */
const untilAborted = async (signal: AbortSignal): Promise<never> => {
  await once(signal, 'abort')
  throw new Error('stopped')
}

t.test('work that is done is the result, and signals are somebody else\'s from then on', async t => {
  const { context, codes, signal } = aContext()
  t.same(await untilSignal(context, async () => 7), { result: 7 })
  signal('SIGINT')
  t.same(codes, [])
})

t.test('what the work fails with is thrown', async t => {
  const { context, codes } = aContext()
  await t.rejects(untilSignal(context, async () => { throw new Error('of its own accord') }), { message: 'of its own accord' })
  t.same(codes, [])
})

t.test('the first signal ends the work, the second the process', async t => {
  for (const [name, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
    const { context, codes, lines, signal } = aContext()
    const ended = untilSignal(context, untilAborted)
    signal(name)
    t.equal(await ended, undefined)
    t.same([codes, lines], [[code], ['daybreak: interrupted\n']])
  }
  const { context, codes, signal } = aContext()
  void untilSignal(context, async () => await new Promise<never>(() => {}))
  signal('SIGTERM')
  t.same(codes, [])
  signal('SIGINT')
  t.same(codes, [143])
})

for (const command of [['models', 'download'], ['serve']]) {
  t.test(`${command.join(' ')} ends a download cleanly at Ctrl-C, and the next one goes on from there`, { skip: process.platform === 'win32' && 'there are no signals' }, async t => {
    const { hub, home, resolve } = await hubFixture(t)
    hub.fail(weights, { type: 'hold', afterBytes: 120_000 })
    const child = spawn(process.execPath, [...sourceFlags, main, ...command, 'some/model'], {
      env: { ...process.env, ...hub.env(home), DAYBREAK_LOG_FORMAT: 'json' }, stdio: ['ignore', 'ignore', 'pipe']
    })
    const exited = once(child, 'exit')
    const lines: string[] = []
    for await (const line of createInterface({ input: child.stderr })) {
      lines.push(line)
      // 120,000 bytes of the weights and a few of the other files are 6 tenths of all.
      if (/60 %|"percent":60/.test(line)) child.kill('SIGINT')
    }
    t.strictSame(await exited, [130, null])
    t.equal(lines.at(-1), 'daybreak: interrupted; what has been downloaded is kept, and the same command goes on from there')
    const blob = join(home, 'hub', 'models--some--model', 'blobs', sha256(weights))
    t.equal((await stat(`${blob}.daybreak.incomplete`)).size, 120_000)
    await t.rejects(stat(`${blob}.daybreak.incomplete.lock`), { code: 'ENOENT' })
    await resolve('some/model')
    t.match(hub.cdn.requests.at(-1), { range: 'bytes=120000-', status: 206 })
  })
}
