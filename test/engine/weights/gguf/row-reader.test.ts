import t from 'tap'
import { readGgufHeader } from '../../../../packages/engine/src/weights/gguf/header.ts'
import { GgufRowReader } from '../../../../packages/engine/src/weights/gguf/row-reader.ts'
import { shiftedValues } from '../../../../packages/engine/src/weights/gguf/shifted-values.ts'
import type { ByteSource } from '../../../../packages/engine/src/weights/byte-source.ts'
import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { nearestHalf } from '../half-reference.ts'
import { memorySource } from '../memory-source.ts'
import { writeGguf } from './write-gguf.ts'

const F32 = 0
const F16 = 1
const Q8_0 = 8
const BF16 = 30

/** Bytes whose reads resolve late, as a file's do. */
function slowSource (bytes: Uint8Array): ByteSource & { readonly outOfRange: number } {
  const source = memorySource(bytes)
  return {
    name: 'model.gguf',
    byteLength: bytes.byteLength,
    get outOfRange () { return source.outOfRange },
    async read (into, position) {
      await new Promise(resolve => setImmediate(resolve))
      await source.read(into, position)
    }
  }
}

async function tensorOf (type: number, dimensions: readonly number[], bytes: Uint8Array, shape?: readonly number[]): Promise<WeightTensor> {
  const source = slowSource(writeGguf({ tensors: [{ name: 'a', type, dimensions, bytes }] }))
  const entry = (await readGgufHeader(source)).tensors.get('a')
  if (entry === undefined) throw new Error('no tensor a')
  return new GgufRowReader(source).tensor(entry, 'weight', shape)
}

/** Q8_0 blocks of scale one: value i is `q(i)`, of -128 to 127. */
function q8Bytes (numValues: number, q: (i: number) => number, scale = [0x00, 0x3c]): Uint8Array {
  const bytes = new Uint8Array(numValues / 32 * 34)
  for (let i = 0; i < numValues; i++) {
    const block = Math.floor(i / 32) * 34
    bytes.set(scale, block)
    bytes[block + 2 + i % 32] = q(i) & 255
  }
  return bytes
}

t.test('rows come back as floats or halves, whatever is stored', async t => {
  const floats = Float32Array.of(1, 2, 3, 4, 5, 6)
  const halves = Uint16Array.of(0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600)
  const brains = Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0)
  for (const [type, stored] of [[F32, floats], [F16, halves], [BF16, brains]] as const) {
    const tensor = await tensorOf(type, [2, 3], new Uint8Array(stored.buffer))
    t.strictSame(tensor.shape, [3, 2])
    const f32 = new Float32Array(5).fill(9)
    await tensor.readRowsInto(1, 2, f32)
    t.strictSame(f32, Float32Array.of(3, 4, 5, 6, 9), tensor.format)
    const f16 = new Uint16Array(2)
    await tensor.readRowsInto(2, 1, f16)
    t.strictSame(f16, halves.subarray(4), tensor.format)
    await tensor.readRowsInto(3, 0, new Float32Array(0))
  }
})

t.test('rows larger than a piece are decoded without a seam', async t => {
  // A piece of 1 MiB holds 30,840 blocks of Q8_0; narrowed, 65,536 values at a time. Sizes around both, and several pieces.
  const piece = 30_840 * 32
  const value = (i: number): number => i % 251 - 125
  for (const length of [65_504, 65_536, 65_568, piece - 32, piece, piece + 32, 2 * piece + 65_568]) {
    const tensor = await tensorOf(Q8_0, [length, 2], q8Bytes(2 * length, value))
    for (const row of [0, 1]) {
      const f32 = new Float32Array(length)
      await tensor.readRowsInto(row, 1, f32)
      t.equal(f32.findIndex((found, i) => found !== value(row * length + i)), -1, `row ${row} of ${length}`)
      const f16 = new Uint16Array(length)
      await tensor.readRowsInto(row, 1, f16)
      t.equal(f16.findIndex((bits, i) => bits !== halfBits(value(row * length + i))), -1, `row ${row} of ${length} as halves`)
    }
  }
})

t.test('a stack may be read as the rows of its matrices', async t => {
  const tensor = await tensorOf(Q8_0, [32, 2, 3], q8Bytes(192, i => Math.floor(i / 32)), [6, 32])
  const rows = new Float32Array(64)
  await tensor.readRowsInto(3, 2, rows)
  t.equal(rows.every((found, i) => found === (i < 32 ? 3 : 4)), true)
})

t.test('rows of single values may begin and end within a block', async t => {
  const tensor = await tensorOf(Q8_0, [128], q8Bytes(128, i => i))
  for (const [first, count] of [[0, 128], [1, 31], [31, 1], [31, 2], [32, 32], [33, 63], [5, 100], [127, 1]] as const) {
    const f32 = new Float32Array(count + 1).fill(-1)
    await tensor.readRowsInto(first, count, f32)
    t.strictSame([...f32], [...Array.from({ length: count }, (_, i) => (first + i) << 24 >> 24), -1])
    const f16 = new Uint16Array(count + 1).fill(7)
    await tensor.readRowsInto(first, count, f16)
    t.strictSame([...f16], [...Array.from({ length: count }, (_, i) => halfBits((first + i) << 24 >> 24)), 7])
  }
})

t.test('a value that fits a float but no half is refused where halves are asked for', async t => {
  // 512 times 127 is 65,024; times -128 it is -65,536, the first that rounds to infinity beyond 65,520.
  const scale = [0x00, 0x60]
  const fits = await tensorOf(Q8_0, [32, 2], q8Bytes(64, () => 127, scale))
  const f16 = new Uint16Array(64)
  await fits.readRowsInto(0, 2, f16)
  t.equal(f16[63], halfBits(65_024))
  const overflows = await tensorOf(Q8_0, [32, 2], q8Bytes(64, i => i === 40 ? -128 : 127, scale))
  await overflows.readRowsInto(0, 1, f16)
  await t.rejects(overflows.readRowsInto(1, 1, f16), {
    code: 'ENGINE_WEIGHT_RANGE', details: { tensor: 'weight', from: 'Q8_0', to: 'f16', numOverflowed: 1, numValues: 32 }
  })
  const f32 = new Float32Array(32)
  await overflows.readRowsInto(1, 1, f32)
  t.equal(f32[8], -65_536)
  const plain = await tensorOf(F32, [1], new Uint8Array(Float32Array.of(65_520).buffer))
  await t.rejects(plain.readRowsInto(0, 1, f16), { code: 'ENGINE_WEIGHT_RANGE', details: { from: 'F32' } })
})

t.test('an overflow in one piece leaves the reader fit for the next read', async t => {
  const length = 3_000_000 / 32 * 32
  const tensor = await tensorOf(Q8_0, [length, 2], q8Bytes(2 * length, i => i === 5 ? -128 : 1, [0x00, 0x60]))
  await t.rejects(tensor.readRowsInto(0, 1, new Uint16Array(length)), { code: 'ENGINE_WEIGHT_RANGE' })
  const f16 = new Uint16Array(length)
  await tensor.readRowsInto(1, 1, f16)
  t.equal(f16.every(bits => bits === halfBits(512)), true)
})

t.test('rows that are not the tensor\'s and destinations too small are refused', async t => {
  const tensor = await tensorOf(Q8_0, [32, 3], q8Bytes(96, () => 1))
  for (const [first, count] of [[0, 4], [3, 1], [-1, 1], [0, -1], [0.5, 1], [4, 0], [NaN, 1]] as const) {
    await t.rejects(tensor.readRowsInto(first, count, new Float32Array(256)), RangeError, `${first} + ${count}`)
  }
  await t.rejects(tensor.readRowsInto(0, 3, new Float32Array(95)), RangeError)
  await tensor.readRowsInto(0, 3, new Float32Array(96))
})

t.test('a second read of one file while the first is under way is a mistake of the caller', async t => {
  const tensor = await tensorOf(Q8_0, [32, 2], q8Bytes(64, () => 1))
  const first = tensor.readRowsInto(0, 1, new Float32Array(32))
  await t.rejects(tensor.readRowsInto(1, 1, new Float32Array(32)), { message: /another read of model.gguf is under way/ })
  await first
  await tensor.readRowsInto(1, 1, new Float32Array(32))
})

t.test('a file that has shrunk is refused, and may be tried again', async t => {
  const bytes = writeGguf({ tensors: [{ name: 'a', type: F32, dimensions: [4], bytes: new Uint8Array(16) }] })
  const entry = (await readGgufHeader(memorySource(bytes))).tensors.get('a')
  if (entry === undefined) throw new Error('no tensor a')
  const gone: ByteSource = { name: 'gone', byteLength: bytes.byteLength, read: () => Promise.reject(new Error('gone')) }
  const tensor = new GgufRowReader(gone).tensor(entry, 'a')
  await t.rejects(tensor.readRowsInto(0, 4, new Float32Array(4)), { message: 'gone' })
  await t.rejects(tensor.readRowsInto(0, 4, new Uint16Array(4)), { message: 'gone' })
})

t.test('shifted values are rounded as floats are, and checked as halves', async t => {
  const values = Float32Array.of(1.5, 1 + 2 ** -23, 0.1, 65_521)
  const tensor = shiftedValues(await tensorOf(F32, [4], new Uint8Array(values.buffer)), -1)
  const f32 = new Float32Array(4)
  await tensor.readRowsInto(0, 4, f32)
  t.strictSame(f32, Float32Array.of(0.5, 2 ** -23, Math.fround(Math.fround(0.1) - 1), 65_520))
  const f16 = new Uint16Array(4)
  await tensor.readRowsInto(0, 3, f16)
  t.strictSame([...f16], [0x3800, 2, halfBits(nearestHalf(f32[2] ?? 0)), 0])
  await t.rejects(tensor.readRowsInto(3, 1, f16), { code: 'ENGINE_WEIGHT_RANGE' })
  await t.rejects(tensor.readRowsInto(0, 4, new Uint16Array(3)), RangeError)
  await t.rejects(tensor.readRowsInto(0, 5, new Uint16Array(8)), RangeError)
})

/** The bit pattern of a value that binary16 holds exactly. */
function halfBits (value: number): number {
  if (value === 0) return Object.is(value, -0) ? 0x8000 : 0
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  const fraction = Math.abs(value) / 2 ** exponent - 1
  return (value < 0 ? 0x8000 : 0) + (exponent + 15) * 1024 + fraction * 1024
}
