import { readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { batchCommand } from '../../../apps/server/src/batches/index.ts'
import { lockOutput } from '../../../apps/server/src/batches/output-lock.ts'
import type { CommandContext } from '../../../apps/server/src/cli/command-context.ts'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { scriptedShape } from '../../fakes/fake-engine-script.ts'

// The engine is a process of its own that answers at once, and a busy machine takes seconds to start one.
t.setTimeout(180_000)

const engineEntry = new URL('../../fakes/fake-engine-child.ts', import.meta.url)

const line = (customId: string, body: object = {}): string => JSON.stringify({
  custom_id: customId, method: 'POST', url: '/v1/completions', body: { model: 'whatever', prompt: `text ${customId}`, max_tokens: 4, ignore_eos: true, ...body }
})

async function arrange (t: Test, lines: readonly string[]) {
  const folder = t.testdir({})
  const input = join(folder, 'in.jsonl')
  const output = join(folder, 'out.jsonl')
  await writeFile(input, lines.join('\n'))
  const run = async (...args: readonly string[]): Promise<{ stderr: string, exitCode: number }> => {
    const written = { stderr: '', exitCode: 0 }
    const context: CommandContext = {
      env: {},
      stdout: { write: () => {} },
      stderr: { write: text => { written.stderr += text } },
      onSignal: () => {},
      exit: code => { written.exitCode = code }
    }
    await runCommandLine(['batch', input, output, ...args], context, [batchCommand({ engineEntry })])
    return written
  }
  const answers = async (path = output): Promise<Array<{ custom_id: string, response: { status_code: number } }>> =>
    (await readFile(path, 'utf8')).split('\n').filter(text => text !== '').map(text => JSON.parse(text))
  return { folder, input, output, run, answers }
}

t.test('requests of a file are answered into another, and a second run answers those that are left', async t => {
  const { folder, output, run, answers } = await arrange(t, Array.from({ length: 12 }, (_, i) => line(`${i}`)))
  const { stderr, exitCode } = await run('--max-concurrency', '3')
  t.equal(exitCode, 0, stderr)
  t.match(stderr, /12 of 12 requests answered in .*tok\/s/)
  const whole = await answers()
  t.strictSame(whole.map(answer => Number(answer.custom_id)).sort((a, b) => a - b), Array.from({ length: 12 }, (_, i) => i))
  t.strictSame((await readdir(folder)).sort(), ['in.jsonl', 'out.jsonl'], 'no file of errors without errors')

  t.match((await run()).stderr, /all 12 requests are answered/)
  const text = await readFile(output, 'utf8')
  await writeFile(output, text.slice(0, text.trimEnd().lastIndexOf('\n') + 20))
  t.match((await run()).stderr, /12 of 12/)
  t.strictSame((await answers()).slice(0, 11), whole.slice(0, 11), 'what was whole stays')
  t.equal((await answers()).length, 12)
})

t.test('what fails is told apart, exits with 1, and is tried again', async t => {
  const { input, output, run, answers } = await arrange(t, [line('good'), line('bad', { temperature: 99 })])
  const { stderr, exitCode } = await run()
  t.equal(exitCode, 1)
  t.match(stderr, /1 of 2 requests answered, 1 failed/)
  t.match(await answers(`${output}.errors.jsonl`), [{ custom_id: 'bad', response: { status_code: 400 } }])
  await writeFile(input, [line('good'), line('bad')].join('\n'))
  t.equal((await run()).exitCode, 0)
  t.equal((await answers()).length, 2)
})

t.test('a file of something else is not taken for one of answers, nor touched', async t => {
  const { input, output, run, answers } = await arrange(t, [line('a'), line('b')])
  t.equal((await run()).exitCode, 0)
  const [first] = await answers()
  for (const [text, number] of [['my notes', 1], [`${JSON.stringify(first)}\nnotes\n`, 2], [`${JSON.stringify({ ...first, custom_id: 'c' })}\n`, 1], [await readFile(input, 'utf8'), 1]] as const) {
    await writeFile(output, text)
    const { stderr, exitCode } = await run()
    t.equal(exitCode, 2)
    t.match(stderr, `out.jsonl:${number}: This line is no answer`)
    t.equal(await readFile(output, 'utf8'), text)
  }
})

t.test('a file that is none of requests is told line by line, with exit code 2, and nothing is loaded', async t => {
  const { run } = await arrange(t, [line('a'), 'nonsense', line('a')])
  const { stderr, exitCode } = await run()
  t.equal(exitCode, 2)
  t.match(stderr, /in\.jsonl:2: This line is not JSON/)
  t.match(stderr, /in\.jsonl:3: The custom_id "a" is that of another line too/)
})

t.test('a file that another process writes answers into is left to it, with its name and exit code 2', async t => {
  const { folder, output, run, answers } = await arrange(t, [line('a'), line('b')])
  const link = join(folder, 'link.jsonl')
  await writeFile(output, '')
  await symlink(output, link)
  {
    // The one that holds it is this process: the command cannot tell it from another.
    const lock = await lockOutput(link)
    if ('usedBy' in lock) throw new Error(lock.usedBy)
    await using _lock = lock
    const { stderr, exitCode } = await run()
    t.equal(exitCode, 2)
    t.match(stderr, new RegExp(`^daybreak: another daybreak \\(pid ${process.pid}\\) is writing answers into .*out\\.jsonl; wait for it, or give a file of its own for these\n$`))
    t.strictSame(await answers(), [])
  }
  t.equal((await run()).exitCode, 0)
  t.equal((await answers()).length, 2)
  t.strictSame((await readdir(folder)).sort(), ['in.jsonl', 'link.jsonl', 'out.jsonl'], 'no lock is left')
})

t.test('what was killed while it wrote answers hinders nobody', async t => {
  const { folder, output, run } = await arrange(t, [line('a')])
  // No process has a number as large.
  await writeFile(`${output}.lock`, JSON.stringify({ pid: 2 ** 30, host: hostname(), nonce: 'killed' }))
  t.equal((await run()).exitCode, 0)
  t.strictSame((await readdir(folder)).sort(), ['in.jsonl', 'out.jsonl'])
})

t.test('one that another process has taken the file from, since it stood still for long, writes no more and says so', async t => {
  const numLines = 200
  const { output, run, answers } = await arrange(t, Array.from({ length: numLines }, (_, i) => line(`${i}`)))
  const lock = `${output}.lock`
  const running = run('--max-concurrency', '1', '--synthetic', scriptedShape({ stepMs: 50 }))
  while (await stat(output).then(({ size }) => size, () => 0) === 0) await new Promise(resolve => setImmediate(resolve))
  await writeFile(lock, JSON.stringify({ pid: process.pid, host: hostname(), nonce: 'the other' }))
  const { stderr, exitCode } = await running
  t.equal(exitCode, 1)
  t.match(stderr, /out\.jsonl\.lock belongs to another process now/)
  t.ok((await answers()).length < numLines)
  t.match(await readFile(lock, 'utf8'), /the other/, 'the lock is left to the other')
})
