import t from 'tap'
import type { CheckpointTensor } from '../../../packages/engine/src/weights/checkpoint.ts'
import type { CheckpointDtype } from '../../../packages/engine/src/weights/safetensors.ts'
import { RowReader } from '../../../packages/engine/src/weights/row-reader.ts'
import { rowsOf } from '../../../packages/engine/src/weights/weight-tensor.ts'

/** A tensor in memory whose value i is `valueBits(i)`; reads resolve late, and out of order with what follows them. */
function tensorOf (dtype: CheckpointDtype, shape: readonly number[], valueBits: (index: number) => number): CheckpointTensor {
  const length = shape.reduce((size, n) => size * n, 1)
  const values = dtype === 'F32' ? Uint32Array.from({ length }, (_, i) => valueBits(i)) : Uint16Array.from({ length }, (_, i) => valueBits(i))
  const bytes = new Uint8Array(values.buffer)
  return {
    name: 'weight',
    dtype,
    shape,
    byteLength: bytes.byteLength,
    async read (into, offset, count) {
      await new Promise(resolve => setImmediate(resolve))
      into.set(bytes.subarray(offset, offset + count))
    }
  }
}

t.test('a row is everything under the first dimension', async t => {
  t.strictSame(rowsOf({ shape: [] }), { numRows: 1, rowLength: 1 })
  t.strictSame(rowsOf({ shape: [5] }), { numRows: 5, rowLength: 1 })
  t.strictSame(rowsOf({ shape: [5, 3] }), { numRows: 5, rowLength: 3 })
  t.strictSame(rowsOf({ shape: [5, 3, 2] }), { numRows: 5, rowLength: 6 })
  t.strictSame(rowsOf({ shape: [0, 3] }), { numRows: 0, rowLength: 3 })
})

t.test('whole rows come back in the type asked for', async t => {
  const reader = new RowReader()
  // 1, 2, 3, ... as bf16, f16 and f32.
  const float = (i: number): number => new Uint32Array(Float32Array.of(i + 1).buffer)[0] ?? 0
  const bf16 = tensorOf('BF16', [4, 3], i => float(i) >>> 16)
  const f32 = tensorOf('F32', [4, 3], float)
  t.strictSame(await reader.readRows(bf16, 1, 2, 'f32'), Float32Array.of(4, 5, 6, 7, 8, 9))
  t.strictSame(await reader.readRows(f32, 3, 1, 'f32'), Float32Array.of(10, 11, 12))
  const halves = await reader.readRows(f32, 0, 1, 'f16')
  t.strictSame(halves, Uint16Array.of(0x3c00, 0x4000, 0x4200))
  t.strictSame(await reader.readRows(bf16, 0, 1, 'f16'), halves)
  t.strictSame(await reader.readRows(tensorOf('F16', [3], i => [0x3c00, 0x4000, 0x4200][i] ?? 0), 0, 3, 'f32'), Float32Array.of(1, 2, 3))
  t.strictSame(await reader.readRows(tensorOf('F16', [], () => 0x3c00), 0, 1, 'f16'), Uint16Array.of(0x3c00))
  t.strictSame(await reader.readRows(bf16, 4, 0, 'f32'), new Float32Array(0))
})

t.test('the result buffer is reused, and grows only when it must', async t => {
  const reader = new RowReader()
  const tensor = tensorOf('BF16', [8, 4], i => i)
  const large = await reader.readRows(tensor, 0, 8, 'f32')
  const small = await reader.readRows(tensor, 0, 1, 'f16')
  t.equal(small.buffer, large.buffer)
})

t.test('rows larger than a piece are converted without a seam', async t => {
  const reader = new RowReader()
  // A piece holds 524,288 bf16 values: one less, exactly, one more, and several pieces.
  for (const length of [524_287, 524_288, 524_289, 2_000_003]) {
    const tensor = tensorOf('BF16', [2, length], i => (i % 2 === 0 ? 0x3f80 : 0xbf80) + i % 120)
    for (const row of [0, 1]) {
      const bits = new Uint32Array((await reader.readRows(tensor, row, 1, 'f32')).slice().buffer)
      const first = row * length
      t.equal(bits.findIndex((value, i) => value >>> 16 !== ((first + i) % 2 === 0 ? 0x3f80 : 0xbf80) + (first + i) % 120), -1, `row ${row} of ${length}`)
      t.equal(bits.length, length)
    }
  }
})

t.test('the destination may be part of a larger buffer, which keeps the rest', async t => {
  const staging = new ArrayBuffer(64)
  const all = new Uint16Array(staging).fill(0xaaaa)
  await new RowReader().readRowsInto(tensorOf('F16', [4, 2], i => i), 2, 2, new Uint16Array(staging, 8, 10))
  t.strictSame([...all.subarray(3, 9)], [0xaaaa, 4, 5, 6, 7, 0xaaaa])
  await new RowReader().readRowsInto(tensorOf('BF16', [4, 2], i => i + 0x4000), 1, 1, new Float32Array(staging, 32, 4))
  t.strictSame([...new Uint32Array(staging, 28, 4)], [0xaaaaaaaa, 0x40020000, 0x40030000, 0xaaaaaaaa])
})

t.test('rows outside the tensor and destinations too small are refused', async t => {
  const reader = new RowReader()
  const tensor = tensorOf('F16', [4, 2], i => i)
  for (const [first, count] of [[0, 5], [4, 1], [-1, 1], [0, -1], [0.5, 1], [NaN, 1], [2 ** 53, 1]] as const) {
    await t.rejects(reader.readRows(tensor, first, count, 'f16'), RangeError, `${first} + ${count}`)
    await t.rejects(reader.readRowsInto(tensor, first, count, new Uint16Array(100)), RangeError)
  }
  await t.rejects(reader.readRowsInto(tensor, 0, 2, new Uint16Array(3)), RangeError)
})

t.test('a weight too large for f16 is an error that says what to do, and the reader stays usable', async t => {
  const reader = new RowReader()
  const tensor = tensorOf('BF16', [1, 1_500_000], i => i === 3 || i === 700_000 ? 0x4780 /* 65,536 */ : 0x3f80)
  await t.rejects(reader.readRows(tensor, 0, 1, 'f16'), {
    code: 'ENGINE_WEIGHT_RANGE',
    details: { tensor: 'weight', from: 'BF16', to: 'f16', numOverflowed: 1, numValues: 524_288 },
    message: /1 of 524288 values of tensor "weight" do not fit f16 .* --dtype f32/
  })
  const wide = await reader.readRows(tensor, 0, 1, 'f32')
  t.strictSame([wide[3], wide[4], wide[700_000], wide[1_499_999]], [65_536, 1, 65_536, 1])
})

t.test('a failed read rejects the call', async t => {
  const tensor = { ...tensorOf('BF16', [2, 600_000], () => 0), read: async (_: Uint8Array, offset: number) => { if (offset > 0) throw new Error('disk') } }
  await t.rejects(new RowReader().readRows(tensor, 0, 1, 'f16'), { message: 'disk' })
})
