import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'

const module = new URL('../../deploy/setup/child-process.mjs', import.meta.url).href

/** A wrapper process that puts `program` (JavaScript) in its place. */
function wrap (program: string) {
  const wrapper = `import { becomeChild } from ${JSON.stringify(module)}
    becomeChild(process.execPath, ['-e', ${JSON.stringify(program)}], { env: process.env })`
  return spawn(process.execPath, ['--input-type=module', '-e', wrapper], { stdio: ['ignore', 'pipe', 'inherit'] })
}

t.test('the exit status of the program is the wrapper\'s', async t => {
  t.strictSame(await once(wrap('process.exit(7)'), 'exit'), [7, null])
  t.strictSame(await once(wrap(''), 'exit'), [0, null])
})

t.test('SIGTERM reaches the program, which may finish its work first', async t => {
  const child = wrap("process.on('SIGTERM', () => { console.log('drained'); process.exit(0) }); setInterval(() => {}, 1000); console.log('up')")
  const lines: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    lines.push(...text.trim().split('\n'))
    if (text.includes('up')) child.kill('SIGTERM')
  })
  t.strictSame(await once(child, 'close'), [0, null])
  t.strictSame(lines, ['up', 'drained'])
})

t.test('a program that dies by a signal takes the wrapper with it by the same', async t => {
  t.strictSame(await once(wrap("process.kill(process.pid, 'SIGKILL')"), 'exit'), [null, 'SIGKILL'])
})
