/**
 * Storage types emulated in float64: each `roundTo…` returns the nearest value the type can hold, ties to even, as IEEE 754
 * conversions do; overflow gives ±Infinity, NaN stays NaN. Kernels store rounded numbers and compute on what they read back.
 */
import type { RealArray } from './real-array.ts'

export type StorageType = 'f32' | 'f16' | 'bf16'

interface BinaryFormat {
  /** Bits of the significand, the hidden one included. */
  readonly precision: number
  /** Exponent of the smallest normal number. */
  readonly minExponent: number
  readonly largest: number
}

const FLOAT16: BinaryFormat = { precision: 11, minExponent: -14, largest: 65504 }
const BFLOAT16: BinaryFormat = { precision: 8, minExponent: -126, largest: (2 - 2 ** -7) * 2 ** 127 }
// Adding and subtracting 2^52 leaves a non-negative double below 2^51 rounded to an integer, ties to even.
const INTEGER_ROUNDING = 2 ** 52

export function roundToFloat16 (value: number): number {
  return roundTo(FLOAT16, value)
}

export function roundToBfloat16 (value: number): number {
  return roundTo(BFLOAT16, value)
}

/** A copy of `values` as it reads back after being stored as `type`. */
export function stored (values: RealArray, type: StorageType): Float64Array {
  const round = rounding(type)
  return Float64Array.from(values, round)
}

/** Rounds `values` in place to what `type` can hold. */
export function roundInPlace (values: Float64Array, type: StorageType): void {
  const round = rounding(type)
  for (let i = 0; i < values.length; i++) values[i] = round(values[i] ?? NaN)
}

/** The 16 bits of `value` rounded to f16, for packing buffers. */
export function float16Bits (value: number): number {
  const rounded = roundToFloat16(value)
  const sign = rounded < 0 || Object.is(rounded, -0) ? 0x8000 : 0
  const magnitude = Math.abs(rounded)
  if (Number.isNaN(magnitude)) return 0x7e00
  if (magnitude === Infinity) return sign | 0x7c00
  if (magnitude < 2 ** FLOAT16.minExponent) return sign | magnitude * 2 ** 24
  const exponent = exponentOf(magnitude)
  return sign | (exponent + 15) << 10 | (magnitude / 2 ** exponent - 1) * 1024
}

export function float16FromBits (bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = bits >> 10 & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN
  if (exponent === 0) return sign * fraction * 2 ** -24
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The 16 bits of `value` rounded to bf16: the upper half of the float32 of the same value. */
export function bfloat16Bits (value: number): number {
  const view = new DataView(new ArrayBuffer(4))
  view.setFloat32(0, roundToBfloat16(value))
  return view.getUint16(0)
}

export function bfloat16FromBits (bits: number): number {
  const view = new DataView(new ArrayBuffer(4))
  view.setUint16(0, bits)
  return view.getFloat32(0)
}

function rounding (type: StorageType): (value: number) => number {
  if (type === 'f32') return Math.fround
  return type === 'f16' ? roundToFloat16 : roundToBfloat16
}

function roundTo (format: BinaryFormat, value: number): number {
  if (!Number.isFinite(value) || value === 0) return value
  const magnitude = Math.abs(value)
  // Below the smallest normal number the spacing stays what it is there: subnormals.
  const spacing = 2 ** (Math.max(exponentOf(magnitude), format.minExponent) - format.precision + 1)
  const steps = magnitude / spacing
  const rounded = (steps + INTEGER_ROUNDING - INTEGER_ROUNDING) * spacing
  return Math.sign(value) * (rounded > format.largest ? Infinity : rounded)
}

/** floor(log2(magnitude)), exact where Math.log2 is not; float64 subnormals count as the smallest normal. */
function exponentOf (magnitude: number): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, magnitude)
  return (view.getUint16(0) >> 4 & 0x7ff) - 1023
}
