/** The exponent bits of a binary16 value: all set is an infinity or a NaN. */
export const F16_EXPONENT = 0x7c00

// Narrowing looks up the sign and exponent (9 bits) of an f32: what to add, how far to shift the mantissa, and its hidden bit.
const base = new Uint16Array(512)
const shift = new Uint8Array(512)
const hidden = new Uint32Array(512)
for (let top = 0; top < 512; top++) {
  const sign = (top >> 8) << 15
  const exponent = (top & 0xff) - 127
  if (exponent > 15) { // too large, or infinite
    base[top] = sign | F16_EXPONENT
    shift[top] = 25
  } else if (exponent >= -14) { // normal
    base[top] = sign | ((exponent + 15) << 10)
    shift[top] = 13
  } else { // subnormal or zero; from 25 on the whole mantissa is shifted out
    base[top] = sign
    shift[top] = Math.min(-exponent - 1, 25)
    hidden[top] = 0x800000
  }
}

/**
 * The binary16 value nearest to an f32, ties to even, both as bit patterns. Values of magnitude 65,520 and above become infinite.
 * Infinities stay; every NaN becomes the quiet NaN of its sign.
 */
export function narrowF32Bits (bits: number): number {
  const top = bits >>> 23
  const mantissa = (bits & 0x7fffff) | (hidden[top] ?? 0)
  const by = shift[top] ?? 0
  // Just under half of what is shifted out, and one more when the kept part is odd: a carry may reach into the exponent.
  const rounded = (mantissa + (1 << (by - 1)) - 1 + ((mantissa >>> by) & 1)) >>> by
  const half = (base[top] ?? 0) + rounded
  return (bits & 0x7fffffff) > 0x7f800000 ? (half & 0x8000) | 0x7e00 : half
}

/** The f32 bit pattern of each binary16 bit pattern; exact. */
export const F16_TO_F32_BITS: Readonly<Uint32Array> = Uint32Array.from({ length: 65_536 }, (_, half) => {
  const sign = (half & 0x8000) << 16
  const exponent = (half >> 10) & 0x1f
  const mantissa = half & 0x3ff
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13)
  if (exponent > 0) return sign | ((exponent + 112) << 23) | (mantissa << 13)
  if (mantissa === 0) return sign
  // A subnormal: shift its leading one up to the hidden bit.
  const leading = Math.clz32(mantissa) - 21
  return sign | ((113 - leading) << 23) | (((mantissa << leading) & 0x3ff) << 13)
})

/** The binary16 bit pattern nearest to each bf16 bit pattern. */
export const BF16_TO_F16: Readonly<Uint16Array> = Uint16Array.from({ length: 65_536 }, (_, brain) => narrowF32Bits(brain << 16))
