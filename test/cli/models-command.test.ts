import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import { askOnTerminal, modelsCommand } from '../../apps/server/src/cli/models-command.ts'
import type { ModelsCommandEnvironment } from '../../apps/server/src/cli/models-command.ts'
import { FakeHub } from '../fakes/fake-hub.ts'
import { runRecorded } from '../fakes/recorded-command.ts'
import type { RecordedCommand } from '../fakes/recorded-command.ts'
import { temporaryFolder } from '../models/temporary-folder.ts'

const COMMIT = 'c'.repeat(40)

async function arrange (t: Test) {
  const hub = await FakeHub.start()
  t.teardown(async () => { await hub[Symbol.asyncDispose]() })
  hub.put('some/model', { commit: COMMIT, files: { 'config.json': '{}', 'tokenizer.json': '[]', 'model.safetensors': new Uint8Array(2044) } })
  const home = await temporaryFolder(t)
  const env = { ...hub.env(join(home, 'hf')), DAYBREAK_CACHE_DIR: join(home, 'daybreak') }
  const run = async (args: readonly string[], confirm?: ModelsCommandEnvironment['confirm']): Promise<RecordedCommand> => {
    const command = runRecorded(['models', ...args], [modelsCommand({ aliases: [], confirm })], env)
    await command.done
    return command
  }
  return { home, run }
}

t.test('a model is downloaded, listed, and deleted without asking when told so', async t => {
  const { home, run } = await arrange(t)
  t.match((await run([])).stdout, /^no models have been downloaded \(in .*hf\/hub and .*daybreak\/models\)\n$/)

  const download = await run(['download', 'some/model'])
  const path = join(home, 'hf', 'hub', 'models--some--model', 'snapshots', COMMIT)
  t.equal(download.stdout, `some/model is at ${path}\n`)
  t.match(download.stderr, /^downloading some\/model: \d+ % of 2 KiB\n(.*\n)*downloading some\/model: 100 % of 2 KiB\n$/)
  t.equal(download.exitCode, undefined)
  t.strictSame(JSON.parse((await run(['download', 'some/model@main', '--json'])).stdout), { id: 'some/model', type: 'directory', path })

  t.match((await run(['list'])).stdout, /some\/model +│ main, cccccccccccc +│ +2 KiB │ \d{4}-\d\d-\d\d │ \d{4}-\d\d-\d\d │ complete/)
  t.match(JSON.parse((await run(['--json'])).stdout), [{ name: 'some/model', origin: 'hub', commit: COMMIT, refs: ['main'], bytes: 2048, complete: true, missing: [], path, lastUsed: /^\d{4}-/ }])

  const deletion = await run(['delete', 'some/model@main', '--yes'])
  t.equal(deletion.stdout, 'deleted some/model@main (2 KiB)\n')
  t.strictSame(await readdir(join(home, 'hf', 'hub')), [])
})

t.test('a deletion asks first, and without a terminal wants to be told', async t => {
  const { home, run } = await arrange(t)
  await run(['download', 'some/model'])
  const refused = await run(['delete', 'some/model'])
  t.equal(refused.exitCode, 2)
  t.match(refused.stderr, /^daybreak: delete: "some\/model" .*--yes/)

  const questions: string[] = []
  const answering = (answer: boolean) => async (question: string): Promise<boolean> => {
    questions.push(question)
    return answer
  }
  const declined = await run(['delete', 'some/model'], answering(false))
  t.equal(declined.exitCode, 1)
  t.equal(declined.stdout, 'nothing was deleted\n')
  t.strictSame(questions, ['Delete some/model@main (2 KiB)?'])
  t.strictSame(await readdir(join(home, 'hf', 'hub')), ['models--some--model'])
  t.match(JSON.parse((await run(['delete', 'some/model', '--json'], answering(true))).stdout), { deleted: [{ name: 'some/model', commit: COMMIT }], freedBytes: 2048 })
  t.strictSame(await readdir(join(home, 'hf', 'hub')), [])
})

t.test('only yes is a yes; the end of the input, which Ctrl-C is as well, is a no', async t => {
  const terminal = () => Object.assign(new PassThrough(), { isTTY: true })
  for (const [typed, expected] of [['y\n', true], ['Yes \n', true], ['n\n', false], ['\n', false], ['', false], ['yes', false]] as const) {
    const [input, output] = [terminal(), terminal()]
    const answer = askOnTerminal(input, output)?.('Delete it?')
    input.end(typed)
    t.equal(await answer, expected, JSON.stringify(typed))
    t.match(String(output.read()), /Delete it\? \[y\/N\] /)
  }
  t.equal(askOnTerminal(new PassThrough(), terminal()), undefined)
  t.equal(askOnTerminal(terminal(), new PassThrough()), undefined)
})

t.test('aliases\' folders are listed and deleted as well, the built-in model is not', async t => {
  const { home, run } = await arrange(t)
  const models = join(home, 'daybreak', 'models')
  await mkdir(join(models, 'whole', 'model'), { recursive: true })
  await writeFile(join(models, 'whole', 'model', 'a.gguf'), 'x'.repeat(1500))
  await mkdir(join(models, 'begun', 'model.incomplete'), { recursive: true })
  const list: unknown = JSON.parse((await run(['list', '--json'])).stdout)
  t.match(list, [{ name: 'begun', origin: 'alias', complete: false, bytes: 0 }, { name: 'whole', origin: 'alias', commit: null, complete: true, bytes: 1500 }])
  t.match((await run(['list'])).stdout, /begun .*partial.*\n.*\n│ whole .* 1\.5 KiB .*complete/)
  t.equal((await run(['delete', 'whole', '--yes'])).stdout, 'deleted whole (1.5 KiB)\n')
  t.strictSame(await readdir(models), ['begun'])

  const builtIn = await run(['delete', 'daybreak-mini', '--yes'])
  t.equal(builtIn.exitCode, 2)
  t.match(builtIn.stderr, /part of the program/)
})

t.test('what cannot be done is one line that says why', async t => {
  const { run } = await arrange(t)
  const unknown = await run(['delete', 'no/model', '--yes'])
  t.equal(unknown.exitCode, 1)
  t.equal(unknown.stderr, 'daybreak: no/model is not among the downloaded models; there are none\n')
  const missing = await run(['download', 'no/model'])
  t.equal(missing.exitCode, 1)
  t.match(missing.stderr, /^daybreak: no\/model: there is no such model at .*\n$/)
  t.equal((await run(['frobnicate'])).exitCode, 2)
})
