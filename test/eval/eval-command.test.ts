import { createServer } from 'node:http'
import t from 'tap'
import type { CommandContext } from '../../apps/server/src/cli/command-context.ts'
import { runCommandLine } from '../../apps/server/src/cli/program.ts'
import { registerEvalCommand } from '../../apps/server/src/eval/index.ts'

/** Runs `daybreak eval` and collects what it wrote. */
async function run (...args: readonly string[]): Promise<{ stdout: string, stderr: string, exitCode: number }> {
  const written = { stdout: '', stderr: '', exitCode: 0 }
  const context: CommandContext = {
    env: {},
    stdout: { write: text => { written.stdout += text } },
    stderr: { write: text => { written.stderr += text }, isTTY: true },
    onSignal: () => {},
    exit: code => { written.exitCode = code }
  }
  await runCommandLine(['eval', ...args], context, [registerEvalCommand])
  return written
}

t.test('against a server', async t => {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.url === '/v1/models'
      ? { data: [{ id: 'polite' }] }
      : { choices: [{ text: 'Goodbye!', finish_reason: 'stop' }] }))
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`

  const { stdout, stderr, exitCode } = await run('--base-url', url, '--tasks', 'talk,arithmetic', '--samples', '60', '--seed', '5', '--json')
  t.equal(exitCode, 0)
  t.match(JSON.parse(stdout), { target: `polite at ${url}`, seed: 5, tasks: [{ task: 'arithmetic', answers: 60, correct: 0 }, { task: 'talk', answers: 60 }] })
  const { tasks: [, talk] }: { tasks: Array<{ correct: number }> } = JSON.parse(stdout)
  t.ok(talk !== undefined && talk.correct > 0 && talk.correct < 40, `some of the talk is goodbyes: ${talk?.correct}`)
  t.match(stderr, /120\/120 talk/, 'progress on the terminal')

  const table = await run('--base-url', `${url}/v1`, '--tasks', 'needle', '--lengths', '256,512', '--depths', '0,50', '--max-context', '300', '--samples', '1')
  t.match(table.stdout, /needle_256_at_0 .*\n(.*\n)?.*needle_256_at_50 /)
  t.notMatch(table.stdout, /needle_512/)
  t.match((await run('--base-url', url, '--tasks', 'talk', '--samples', '1')).stdout, /recorded/, 'the embedded model\'s gauge beside it')
})

t.test('a wrong command line is told so with exit code 2, a failure with 1', async t => {
  for (const args of [['--samples', '0'], ['--seed', '-1'], ['--lengths', '12,x'], ['--depths', '101'], ['--dtype', 'f8'], ['--in-process', '--base-url', 'http://x']]) {
    const { exitCode, stderr } = await run(...args)
    t.equal(exitCode, 2, args.join(' '))
    t.match(stderr, new RegExp(args[0] ?? ''))
  }
  const nobody = await run('--base-url', 'http://127.0.0.1:1')
  t.equal(nobody.exitCode, 1)
  t.match(nobody.stderr, /no answer from http:\/\/127\.0\.0\.1:1/)
  const missing = await run('--in-process', '--model', 'no-such-model')
  t.equal(missing.exitCode, 1)
  t.match(missing.stderr, /built-in name \(daybreak-mini\)/)
})

t.test('help names every option', async t => {
  const { stdout, exitCode } = await run('--help')
  t.equal(exitCode, 0)
  for (const option of ['--base-url', '--in-process', '--model', '--tasks', '--samples', '--lengths', '--depths', '--max-context', '--seed', '--concurrency', '--json', '--dtype', '--adapter']) {
    t.ok(stdout.includes(option), option)
  }
})
