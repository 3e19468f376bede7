import t from 'tap'
import { converter } from '../../../packages/engine/src/weights/convert.ts'
import { halfValue, nearestHalf } from './half-reference.ts'
import { randomBelow } from './random-below.ts'

const bytesOf = (values: Float32Array | Uint16Array | Uint32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
const sameBits = (a: Uint16Array, b: Uint16Array): boolean => Buffer.compare(bytesOf(a), bytesOf(b)) === 0
const allHalves = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)

t.test('every f16 value widens to exactly itself', async t => {
  const wide = new Float32Array(65_536)
  t.equal(converter('F16', 'f32')(bytesOf(allHalves), 65_536, wide, 0), 0)
  const wrong = [...allHalves].filter(bits => !Object.is(wide[bits], halfValue(bits)))
  t.strictSame(wrong, [])
})

t.test('every bf16 value is the upper half of its f32', async t => {
  const wide = new Float32Array(65_536)
  t.equal(converter('BF16', 'f32')(bytesOf(allHalves), 65_536, wide, 0), 0)
  const bits = new Uint32Array(wide.buffer)
  t.equal(bits.findIndex((value, brain) => value !== brain * 65_536), -1)
})

t.test('equal types are copied bit by bit, NaN payloads included', async t => {
  const halves = new Uint16Array(65_536)
  t.equal(converter('F16', 'f16')(bytesOf(allHalves), 65_536, halves, 0), 0)
  t.ok(sameBits(halves, allHalves))
  const floats = new Float32Array(4)
  const patterns = Uint32Array.of(0x7fa0_1234, 0xff80_0001, 0x8000_0000, 0x7f80_0000)
  converter('F32', 'f32')(bytesOf(patterns), 4, floats, 0)
  t.strictSame(new Uint32Array(floats.buffer), patterns)
})

t.test('f32 narrows to the nearest f16, ties to even, at and around every midpoint', async t => {
  const seed = 16
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  const values: number[] = [0, -0, 65_504, 65_519.99, -65_519.99, 2 ** -24, 2 ** -25, 2 ** -26, 1e-30, -1e-45]
  for (let bits = 0; bits < 0x7bff; bits++) {
    const midpoint = Math.fround((halfValue(bits) + halfValue(bits + 1)) / 2)
    values.push(halfValue(bits), midpoint, midpoint * (1 + 2 ** -22), -midpoint * (1 - 2 ** -22))
  }
  for (let i = 0; i < 50_000; i++) values.push((below(2 ** 32) / 2 ** 32 - 0.5) * 2 ** (below(42) - 26))
  const floats = Float32Array.from(values).filter(value => Math.abs(value) < 65_520)
  const halves = new Uint16Array(floats.length)
  t.equal(converter('F32', 'f16')(bytesOf(floats), floats.length, halves, 0), 0)
  const wrong = [...floats].filter((value, i) => !Object.is(halfValue(halves[i] ?? 0), nearestHalf(value)))
  t.strictSame(wrong, [])
})

t.test('every bf16 value narrows like the f32 it is', async t => {
  const halves = new Uint16Array(65_536)
  const numOverflowed = converter('BF16', 'f16')(bytesOf(allHalves), 65_536, halves, 0)
  const wide = new Float32Array(Uint32Array.from({ length: 65_536 }, (_, brain) => brain * 65_536).buffer)
  t.strictSame([...wide].filter((value, brain) => !Object.is(halfValue(halves[brain] ?? 0), nearestHalf(value))), [])
  t.equal(numOverflowed, [...wide].filter(value => Math.abs(value) >= 65_520 && Math.abs(value) < Infinity).length)
})

t.test('bf16 values narrow alike alone, in pairs with any neighbour, and at odd places', async t => {
  const below = randomBelow(5)
  const brains = Uint16Array.from({ length: 40_001 }, () => below(2) === 0 ? below(65_536) : 0x3880 - 2 + below(4) + below(2) * (0x4780 - 0x3880))
  const convert = converter('BF16', 'f16')
  const alone = new Uint16Array(1)
  const expected = { halves: new Uint16Array(brains.length), numOverflowed: 0 }
  for (let i = 0; i < brains.length; i++) {
    expected.numOverflowed += convert(bytesOf(brains.slice(i, i + 1)), 1, alone, 0)
    expected.halves[i] = alone[0] ?? 0
  }
  for (const [start, offset] of [[0, 0], [0, 1], [1, 0], [1, 1]] as const) {
    const destination = new Uint16Array(brains.length + 2).subarray(start)
    t.equal(convert(bytesOf(brains), brains.length, destination, offset), expected.numOverflowed)
    t.ok(sameBits(destination.subarray(offset, offset + brains.length), expected.halves), `from value ${start + offset} on`)
  }
})

t.test('only finite values that become infinite are counted', async t => {
  const floats = Float32Array.of(65_519, 65_520, -70_000, 3e38, Infinity, -Infinity, NaN)
  const halves = new Uint16Array(floats.length)
  t.equal(converter('F32', 'f16')(bytesOf(floats), floats.length, halves, 0), 3)
  t.strictSame([...halves], [0x7bff, 0x7c00, 0xfc00, 0x7c00, 0x7c00, 0xfc00, 0x7e00])
})

t.test('a conversion touches only the values asked for, wherever they lie', async t => {
  const source = new Uint8Array(64).fill(0x3f).subarray(4)
  for (const [from, to, value] of [['F32', 'f16', 0x39fa], ['BF16', 'f16', 0x39f8], ['F16', 'f16', 0x3f3f]] as const) {
    const destination = new Uint16Array(10).fill(7).subarray(1)
    converter(from, to)(source, 3, destination, 2)
    t.strictSame([...destination], [7, 7, value, value, value, 7, 7, 7, 7], `${from} to ${to}`)
  }
  for (const [from, value] of [['F32', 0x3f3f3f3f], ['BF16', 0x3f3f0000], ['F16', 0x3fe7e000]] as const) {
    const destination = new Float32Array(7).fill(7).subarray(1)
    converter(from, 'f32')(source, 3, destination, 2)
    t.strictSame([...new Uint32Array(destination.buffer, 12, 3)], [value, value, value], `${from} to f32`)
    t.strictSame([destination[1], destination[5]], [7, 7])
  }
})
