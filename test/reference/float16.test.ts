import t from 'tap'
import { bfloat16Bits, bfloat16FromBits, float16Bits, float16FromBits, roundToBfloat16, roundToFloat16, stored } from './float16.ts'

t.test('every f16 pattern survives the way to a number and back', async t => {
  let different = 0
  for (let bits = 0; bits < 65536; bits++) {
    const value = float16FromBits(bits)
    if (Number.isNaN(value) ? !Number.isNaN(roundToFloat16(value)) : float16Bits(value) !== bits) different++
  }
  t.equal(different, 0)
})

t.test('every bf16 pattern survives the way to a number and back', async t => {
  let different = 0
  for (let bits = 0; bits < 65536; bits++) {
    const value = bfloat16FromBits(bits)
    if (!Number.isNaN(value) && bfloat16Bits(value) !== bits) different++
  }
  t.equal(different, 0)
})

t.test('rounding to f16 goes to the nearest, ties to even', async t => {
  t.equal(roundToFloat16(0.1), 0.0999755859375)
  t.equal(roundToFloat16(1 + 2 ** -11), 1, 'a tie goes down to the even significand')
  t.equal(roundToFloat16(1 + 3 * 2 ** -11), 1 + 2 ** -9, 'a tie goes up to the even significand')
  t.equal(roundToFloat16(1 + 2 ** -11 + 2 ** -30), 1 + 2 ** -10, 'just above a tie goes up')
  t.equal(roundToFloat16(-2049), -2048)
})

t.test('f16 overflows at 65520, underflows below 2^-25, and keeps subnormals and signs', async t => {
  t.equal(roundToFloat16(65519.9), 65504)
  t.equal(roundToFloat16(65520), Infinity)
  t.equal(roundToFloat16(-1e9), -Infinity)
  t.equal(roundToFloat16(2 ** -24), 2 ** -24)
  t.equal(roundToFloat16(1.5 * 2 ** -24), 2 ** -23)
  t.equal(roundToFloat16(2 ** -25), 0)
  t.ok(Object.is(roundToFloat16(-0), -0))
  t.equal(float16Bits(-0), 0x8000)
  t.ok(Number.isNaN(roundToFloat16(NaN)))
})

t.test('bf16 keeps eight significant bits and float32\'s range', async t => {
  t.equal(roundToBfloat16(3.14159), 3.140625)
  t.equal(roundToBfloat16(1 + 2 ** -8), 1, 'a tie goes to the even significand')
  t.equal(bfloat16FromBits(0x3f80), 1)
  t.equal(roundToBfloat16(3.4e38), Infinity)
  t.same(stored(Float64Array.of(0.1, 3.14159), 'bf16'), Float64Array.of(0.10009765625, 3.140625))
})
