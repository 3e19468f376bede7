import t from 'tap'
import type { OrderedLine } from '../../../apps/server/src/batches/line-order.ts'
import { cutChunks } from '../../../apps/server/src/queue/cut-chunks.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'

const bounds = { enoughLines: 4, mostLines: 8, mostBytes: 100 }

/** Groups by name and size; a name of none is a single line. */
async function * lines (...groups: ReadonlyArray<readonly [name: string, size: number, bytes?: number]>): AsyncGenerator<OrderedLine> {
  let number = 0
  for (const [name, size, length = 10] of groups) {
    for (let i = 0; i < size; i++) {
      number++
      yield { line: { number, offset: 0, length, customId: `${number}` }, prefixGroup: name === '' ? undefined : { id: name, length: 16 } }
    }
  }
}

/** Each chunk as the groups that its lines are in, `-` for none. */
async function cut (ordered: AsyncIterable<OrderedLine>): Promise<string[]> {
  const chunks: string[] = []
  for await (const chunk of cutChunks(ordered, bounds)) chunks.push(chunk.map(({ prefixGroup }) => prefixGroup?.id ?? '-').join(''))
  return chunks
}

t.test('single lines are packed, in their order', async t => {
  t.strictSame(await cut(lines(['', 9])), ['----', '----', '-'])
  t.strictSame(await cut(lines(['', 4])), ['----'])
  t.strictSame(await cut(lines()), [])
})

t.test('small groups share a chunk, and none is cut for it', async t => {
  t.strictSame(await cut(lines(['a', 2], ['b', 2], ['c', 3], ['', 1], ['d', 2])), ['aabb', 'ccc-', 'dd'])
  t.strictSame(await cut(lines(['a', 3], ['b', 2])), ['aaa', 'bb'])
})

t.test('a group larger than a chunk usually is stays whole up to the bound, and is divided beyond it', async t => {
  t.strictSame(await cut(lines(['a', 1], ['b', 7], ['c', 1])), ['a', 'bbbbbbb', 'c'])
  t.strictSame(await cut(lines(['b', 8])), ['bbbbbbbb'])
  t.strictSame(await cut(lines(['b', 9], ['c', 1])), ['bbbbbbbb', 'b', 'c'])
})

t.test('a chunk has so many bytes, and a line that has more is alone', async t => {
  t.strictSame(await cut(lines(['', 2, 50], ['', 1, 1])), ['--', '-'])
  t.strictSame(await cut(lines(['', 1, 1], ['', 1, 101], ['', 1, 1])), ['-', '-', '-'])
  t.strictSame(await cut(lines(['a', 5, 30])), ['aaa', 'aa'])
})

t.test('no line is lost, repeated or moved, and no group that fits is in two chunks', async t => {
  const seed = 20261126
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  for (let round = 0; round < 200; round++) {
    const groups = Array.from({ length: random.integer(12) }, (_, i) => random.integer(3) === 0 ? ['', 1, random.between(1, 120)] as const : [`${i}`, random.between(1, 12), random.between(1, 20)] as const)
    const chunks: Array<readonly OrderedLine[]> = []
    for await (const chunk of cutChunks(lines(...groups), bounds)) chunks.push(chunk)
    const numLines = groups.reduce((sum, [, size]) => sum + size, 0)
    t.strictSame(chunks.flat().map(({ line }) => line.number), Array.from({ length: numLines }, (_, i) => i + 1))
    for (const chunk of chunks) {
      t.ok(chunk.length >= 1 && chunk.length <= bounds.mostLines)
      t.ok(chunk.length === 1 || chunk.reduce((sum, { line }) => sum + line.length, 0) <= bounds.mostBytes)
    }
    for (const [name, size, bytes] of groups) {
      if (name === '' || size > bounds.mostLines || size * bytes > bounds.mostBytes) continue
      t.equal(chunks.filter(chunk => chunk.some(({ prefixGroup }) => prefixGroup?.id === name)).length, 1, `group ${name} is whole`)
    }
  }
})
