import { Writable } from 'node:stream'
import t from 'tap'
import { createDownloadDisplay } from '../../apps/server/src/cli/download-progress.ts'
import { createLogger } from '../../apps/server/src/cli/logger.ts'

t.test('without a terminal there is one line for every ten percent', async t => {
  let text = ''
  const display = createDownloadDisplay({ write: (chunk: string) => { text += chunk } })
  display.begin('some/model', 1024)
  for (let done = 0; done <= 1024; done += 8) display.update(done)
  display.note('a note')
  display.end()
  const lines = text.trimEnd().split('\n')
  t.strictSame(lines, [...Array.from({ length: 11 }, (_, i) => `downloading some/model: ${i * 10} % of 1 KiB`), 'daybreak: a note'])
})

t.test('with a logger the lines are events', async t => {
  const events: unknown[] = []
  const logger = createLogger('info', 'json', { write: line => { events.push(JSON.parse(line)) } })
  const display = createDownloadDisplay({ write: () => {} }, logger)
  display.begin('some/model', 100)
  display.update(55)
  display.note('a note')
  t.match(events, [{ event: 'downloading', model: 'some/model', percent: 50, doneBytes: 55, totalBytes: 100 }, { level: 40, msg: 'a note' }])
  t.equal(events.length, 2)
})

t.test('on a terminal a bar shows amount, speed and time left', async t => {
  let text = ''
  class Terminal extends Writable {
    readonly isTTY = true
    readonly columns = 120
    // What cli-progress asks of a terminal.
    cursorTo (): void {}
    clearLine (): void {}
    override _write (chunk: unknown, _encoding: string, done: () => void): void {
      text += String(chunk)
      done()
    }
  }
  let now = 0
  const display = createDownloadDisplay(new Terminal(), undefined, () => now)
  const MiB = 1024 ** 2
  display.begin('some/model', 100 * MiB)
  display.update(10 * MiB)
  for (let second = 1; second <= 4; second += 1) {
    now = second * 1000
    display.update((10 + 5 * second) * MiB)
  }
  display.note('another try')
  display.end()
  t.match(text, /^downloading some\/model, 100 MiB\n/)
  t.match(text, 'another try\n')
  t.match(text, /30% 30 MiB, 5 MiB\/s, 14 s left/, 'what an earlier try left is no speed')
})
