import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { BatchLine } from '../../../apps/server/src/batches/check-input.ts'
import type { OrderedLine } from '../../../apps/server/src/batches/line-order.ts'
import { ChunkPlan } from '../../../apps/server/src/queue/chunk-plan.ts'

const batchLines: readonly BatchLine[] = [1, 2, 3, 4].map(number => ({ number, offset: 10 * number, length: 9, customId: `line ${number}` }))

function ordered (number: number, group?: string): OrderedLine {
  const line = batchLines.find(line => line.number === number)
  if (line === undefined) throw new Error(`there is no line ${number}`)
  return { line, prefixGroup: group === undefined ? undefined : { id: group, length: 32 } }
}

t.test('after the end of a process the chunks are the same ones', async t => {
  const path = join(t.testdir({}), 'chunks.jsonl')
  {
    await using plan = await ChunkPlan.open(path, batchLines)
    t.strictSame(plan.earlier, [])
    t.equal((await plan.add([ordered(3, 'g'), ordered(1, 'g')])).id, 0)
    t.equal((await plan.add([ordered(2)])).id, 1)
  }
  await using plan = await ChunkPlan.open(path, batchLines)
  t.strictSame(plan.earlier, [{ id: 0, lines: [ordered(3, 'g'), ordered(1, 'g')] }, { id: 1, lines: [ordered(2)] }])
  t.strictSame(batchLines.map(line => plan.has(line)), [true, true, true, false])
  t.equal((await plan.add([ordered(4)])).id, 2, 'a new one has a number of its own')
})

t.test('a chunk that was being written when the process ended is none', async t => {
  const path = join(t.testdir({}), 'chunks.jsonl')
  {
    await using plan = await ChunkPlan.open(path, batchLines)
    await plan.add([ordered(1)])
    await plan.add([ordered(2)])
  }
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.slice(0, -3))
  {
    await using plan = await ChunkPlan.open(path, batchLines)
    t.strictSame(plan.earlier.map(({ id }) => id), [0])
    t.notOk(plan.has(ordered(2).line))
    await plan.add([ordered(2)])
  }
  t.equal(await readFile(path, 'utf8'), text)
})

t.test('what is no chunk, or has lines that are none, is passed over', async t => {
  const path = join(t.testdir({}), 'chunks.jsonl')
  await appendFile(path, '{"id":7,"lines":[[1],[99]]}\n{"id":"x"}\n{}\n')
  await using plan = await ChunkPlan.open(path, batchLines)
  t.strictSame(plan.earlier, [{ id: 7, lines: [ordered(1)] }])
  t.equal((await plan.add([ordered(2)])).id, 8)
})
