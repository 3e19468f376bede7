import type { StorageType } from '../engine.ts'
import { BF16_TO_F16, F16_EXPONENT, F16_TO_F32_BITS, narrowF32Bits } from './half-float.ts'
import type { CheckpointDtype } from './safetensors.ts'

/** Values in a storage type: binary16 bit patterns in a `Uint16Array` (Node 20 has no `Float16Array`), or floats. */
export type StoredValues = Uint16Array | Float32Array

/**
 * Converts the first `count` values of `source`, which holds a checkpoint's bytes, into `destination` from `offset` on.
 * Both are only viewed, never copied; `source` must start at a multiple of 4 bytes in its buffer.
 * @returns how many finite values became infinite
 */
export type Convert = (source: Uint8Array, count: number, destination: StoredValues, offset: number) => number

/**
 * The conversion from a checkpoint's dtype to a storage type: exact where the target is wider, else to nearest, ties to even.
 * Infinities and NaN stay what they are and are not counted.
 */
export function converter (from: CheckpointDtype, to: StorageType): Convert {
  return CONVERTERS[`${from}:${to}`]
}

const CONVERTERS: Readonly<Record<`${CheckpointDtype}:${StorageType}`, Convert>> = Object.freeze({
  'F32:f32': copyBytes,
  'F16:f16': copyBytes,
  'F16:f32': widenF16,
  'BF16:f32': widenBF16,
  'F32:f16': narrowF32,
  'BF16:f16': narrowBF16
})

/** Bit patterns of 16- or 32-bit values: typed arrays of integers cannot change a NaN's bits on the way. */
const words16 = (source: Uint8Array, count: number): Uint16Array => new Uint16Array(source.buffer, source.byteOffset, count)
const words32 = (source: Uint8Array, count: number): Uint32Array => new Uint32Array(source.buffer, source.byteOffset, count)
const bitsOf = (destination: StoredValues, offset: number, count: number): Uint32Array =>
  new Uint32Array(destination.buffer, destination.byteOffset + offset * 4, count)

function copyBytes (source: Uint8Array, count: number, destination: StoredValues, offset: number): number {
  const bytesPerValue = destination.BYTES_PER_ELEMENT
  const target = new Uint8Array(destination.buffer, destination.byteOffset, destination.byteLength)
  target.set(source.subarray(0, count * bytesPerValue), offset * bytesPerValue)
  return 0
}

function widenF16 (source: Uint8Array, count: number, destination: StoredValues, offset: number): number {
  const halves = words16(source, count)
  const bits = bitsOf(destination, offset, count)
  for (let i = 0; i < count; i++) {
    const half = halves[i] ?? 0
    const exponent = half & F16_EXPONENT
    bits[i] = exponent !== 0 && exponent !== F16_EXPONENT
      ? (half & 0x8000) << 16 | ((half & 0x7fff) << 13) + 0x38000000
      : F16_TO_F32_BITS[half] ?? 0
  }
  return 0
}

function widenBF16 (source: Uint8Array, count: number, destination: StoredValues, offset: number): number {
  const brains = words16(source, count)
  const bits = bitsOf(destination, offset, count)
  // bf16 is the upper half of an f32.
  for (let i = 0; i < count; i++) bits[i] = (brains[i] ?? 0) << 16
  return 0
}

function narrowF32 (source: Uint8Array, count: number, destination: StoredValues, offset: number): number {
  const floats = words32(source, count)
  let numOverflowed = 0
  for (let i = 0; i < count; i++) {
    const float = floats[i] ?? 0
    const magnitude = float & 0x7fffffff
    if (magnitude >= 0x38800000 && magnitude < 0x477ff000) {
      // From 2^-14 to just below 65,520: normal in f16 as well, so only the exponent's bias changes and the fraction is rounded.
      destination[offset + i] = (float >>> 16 & 0x8000) | (magnitude - 0x38000000 + 0xfff + (magnitude >>> 13 & 1)) >>> 13
    } else {
      destination[offset + i] = narrowF32Bits(float)
      if (magnitude >= 0x477ff000 && magnitude < 0x7f800000) numOverflowed++
    }
  }
  return numOverflowed
}

function narrowBF16 (source: Uint8Array, count: number, destination: StoredValues, offset: number): number {
  const brains = words16(source, count)
  const isPairAligned = (destination.byteOffset + offset * 2) % 4 === 0
  const numPairs = isPairAligned ? count >>> 1 : 0
  const pairs = words32(source, numPairs)
  const halfPairs = isPairAligned ? new Uint32Array(destination.buffer, destination.byteOffset + offset * 2, numPairs) : words32(source, 0)
  let numOverflowed = 0
  const narrowOne = (i: number): void => {
    const brain = brains[i] ?? 0
    const half = BF16_TO_F16[brain] ?? 0
    if ((half & F16_EXPONENT) === F16_EXPONENT && (brain & 0x7f80) !== 0x7f80) numOverflowed++
    destination[offset + i] = half
  }
  for (let pair = 0; pair < numPairs; pair++) {
    // Two values in one word. Where both are normal in f16 (magnitude bits from 0x3880 to 0x477f), no lane borrows from or
    // carries into the other, and only the exponent's bias changes: the f16 fraction has room for all of bf16's.
    const both = pairs[pair] ?? 0
    const magnitudes = both & 0x7fff7fff
    const large = (magnitudes | 0x80008000) - 0x38803880
    const tooLarge = magnitudes + 0x38803880
    if ((large & ~tooLarge & 0x80008000) === (0x80008000 | 0)) {
      halfPairs[pair] = (both & 0x80008000) | (magnitudes - 0x38003800) << 3
    } else {
      narrowOne(2 * pair)
      narrowOne(2 * pair + 1)
    }
  }
  for (let i = 2 * numPairs; i < count; i++) narrowOne(i)
  return numOverflowed
}
