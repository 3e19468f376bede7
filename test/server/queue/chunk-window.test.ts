import t from 'tap'
import type { BatchLine } from '../../../apps/server/src/batches/check-input.ts'
import type { Chunk } from '../../../apps/server/src/queue/chunk-plan.ts'
import { ChunkWindow } from '../../../apps/server/src/queue/chunk-window.ts'

const line = (number: number, length = 10): BatchLine => ({ number, offset: 0, length, customId: `${number}` })
const chunk = (id: number, lines: readonly BatchLine[]): Chunk => ({ id, lines: lines.map(line => ({ line, prefixGroup: undefined })) })

/** Chunk `id` of one line, or more. */
function put (window: ChunkWindow, id: number, ...numbers: readonly number[]): void {
  const lines = numbers.map(number => line(number))
  window.add(chunk(id, lines), lines)
}

t.test('so many chunks wait at a time, and the first answer of one makes room', async t => {
  const window = new ChunkWindow({ leastUntouched: 2, mostBytes: 1000 })
  put(window, 0, 1, 2)
  t.ok(window.hasRoom)
  window.add(chunk(1, [line(3), line(4)]), [line(4)])
  t.notOk(window.hasRoom)
  const room = window.room()
  window.answered(3)
  window.answered(99)
  t.notOk(window.hasRoom, 'what was answered before, or is nobody\'s, changes nothing')
  window.answered(2)
  await room
  put(window, 2, 5)
  t.notOk(window.hasRoom)
  window.answered(1)
  t.notOk(window.hasRoom, 'its last answer makes no room once more')
  t.strictSame(window.open.map(({ chunk: { id }, unanswered }) => [id, [...unanswered.keys()]]), [[1, [4]], [2, [5]]])
  window.answered(4)
  window.answered(4)
  window.answered(5)
  t.ok(window.isEmpty)
})

t.test('where many chunks are being worked on, as many wait', async t => {
  const window = new ChunkWindow({ leastUntouched: 2, mostBytes: 1000 })
  put(window, 0, 1)
  put(window, 1, 2)
  const room = window.room()
  window.follow(1)
  t.notOk(window.hasRoom, 'never fewer than at least')
  window.follow(3)
  await room
  put(window, 2, 3)
  t.notOk(window.hasRoom)
})

t.test('so many bytes are out at a time, but always one chunk', async t => {
  const window = new ChunkWindow({ leastUntouched: 10, mostBytes: 100 })
  t.ok(window.hasRoom)
  window.add(chunk(0, [line(1, 1000)]), [line(1, 1000)])
  t.notOk(window.hasRoom)
  window.answered(1)
  window.add(chunk(1, [line(2, 99)]), [line(2, 99)])
  t.ok(window.hasRoom)
  window.add(chunk(2, [line(3, 1)]), [line(3, 1)])
  t.notOk(window.hasRoom)
})
