import t from 'tap'
import type { BatchLine } from '../../../apps/server/src/batches/check-input.ts'
import type { Chunk } from '../../../apps/server/src/queue/chunk-plan.ts'
import { ChunkWindow } from '../../../apps/server/src/queue/chunk-window.ts'

const line = (number: number, length = 10): BatchLine => ({ number, offset: 0, length, customId: `${number}` })
const chunk = (id: number, lines: readonly BatchLine[]): Chunk => ({ id, lines: lines.map(line => ({ line, prefixGroup: undefined })) })

t.test('so many chunks are out at a time, and the last answer of one makes room', async t => {
  const window = new ChunkWindow({ mostChunks: 2, mostBytes: 1000 })
  window.add(chunk(0, [line(1), line(2)]), [line(1), line(2)])
  t.ok(window.hasRoom)
  window.add(chunk(1, [line(3), line(4)]), [line(4)])
  t.notOk(window.hasRoom)
  let hasCome = false
  const room = window.room().then(() => { hasCome = true })
  window.answered(1)
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(hasCome, 'one of its lines is missing')
  window.answered(3)
  window.answered(99)
  t.notOk(window.hasRoom, 'what was answered before, or is nobody\'s, changes nothing')
  window.answered(2)
  await room
  t.strictSame(window.open.map(({ chunk: { id }, unanswered }) => [id, [...unanswered.keys()]]), [[1, [4]]])
  window.answered(4)
  window.answered(4)
  t.ok(window.isEmpty)
})

t.test('so many bytes are out at a time, but always one chunk', async t => {
  const window = new ChunkWindow({ mostChunks: 10, mostBytes: 100 })
  t.ok(window.hasRoom)
  window.add(chunk(0, [line(1, 1000)]), [line(1, 1000)])
  t.notOk(window.hasRoom)
  window.answered(1)
  window.add(chunk(1, [line(2, 99)]), [line(2, 99)])
  t.ok(window.hasRoom)
  window.add(chunk(2, [line(3, 1)]), [line(3, 1)])
  t.notOk(window.hasRoom)
})
