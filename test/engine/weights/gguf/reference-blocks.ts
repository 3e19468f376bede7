import { halfValue } from '../half-reference.ts'
import type { BlockTypeName } from '../../../../packages/engine/src/weights/gguf/block-decoder.ts'

/** Value `i` of one block, in float arithmetic: every operation rounded. */
export type ReferenceValue = (block: Uint8Array, i: number) => number

const f = Math.fround
const byte = (block: Uint8Array, at: number): number => block[at] ?? 0
const signed = (block: Uint8Array, at: number): number => byte(block, at) >= 128 ? byte(block, at) - 256 : byte(block, at)
const half = (block: Uint8Array, at: number): number => halfValue(byte(block, at) + 256 * byte(block, at + 1))
/** `count` bits from bit `first` of the bytes at `at`, taken as one little-endian number. */
const bits = (block: Uint8Array, at: number, first: number, count: number): number => {
  let value = 0
  for (let k = 0; k < count; k++) value += (byte(block, at + Math.floor((first + k) / 8)) >> (first + k) % 8 & 1) * 2 ** k
  return value
}
/** Nibble `i` of 32 in 16 bytes: the low ones first, then the high ones. */
const nibble = (block: Uint8Array, at: number, i: number): number => bits(block, at + i % 16, i < 16 ? 0 : 4, 4)

const IQ4_CODES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

/** The 6-bit scale and minimum of group g of 8 in the 12 bytes of Q4_K and Q5_K. */
const scale6 = (block: Uint8Array, g: number): number => g < 4 ? bits(block, 4 + g, 0, 6) : bits(block, 8 + g, 0, 4) + 16 * bits(block, g, 6, 2)
const minimum6 = (block: Uint8Array, g: number): number => g < 4 ? bits(block, 8 + g, 0, 6) : bits(block, 8 + g, 4, 4) + 16 * bits(block, 4 + g, 6, 2)

/** The formats as their definitions read, one value at a time, without regard to speed. IQ2_XXS takes its codebook from the caller. */
export function referenceValue (type: BlockTypeName, codebook: readonly number[]): ReferenceValue {
  switch (type) {
    case 'Q4_0': return (b, i) => f(half(b, 0) * (nibble(b, 2, i) - 8))
    case 'Q4_1': return (b, i) => f(f(half(b, 0) * nibble(b, 4, i)) + half(b, 2))
    case 'Q5_0': return (b, i) => f(half(b, 0) * (nibble(b, 6, i) + 16 * bits(b, 2, i, 1) - 16))
    case 'Q5_1': return (b, i) => f(f(half(b, 0) * (nibble(b, 8, i) + 16 * bits(b, 4, i, 1))) + half(b, 2))
    case 'Q8_0': return (b, i) => f(half(b, 0) * signed(b, 2 + i))
    case 'Q2_K': return (b, i) => {
      const group = Math.floor(i / 16)
      const q = bits(b, 16 + 32 * Math.floor(i / 128) + i % 32, 2 * Math.floor(i % 128 / 32), 2)
      return f(f(f(half(b, 80) * bits(b, group, 0, 4)) * q) - f(half(b, 82) * bits(b, group, 4, 4)))
    }
    case 'Q3_K': return (b, i) => {
      const group = Math.floor(i / 16)
      const q = bits(b, 32 + 32 * Math.floor(i / 128) + i % 32, 2 * Math.floor(i % 128 / 32), 2)
      const mask = bits(b, i % 32, Math.floor(i / 32), 1)
      const low = bits(b, 96 + group % 8, group < 8 ? 0 : 4, 4)
      const high = bits(b, 104 + group % 4, 2 * Math.floor(group / 4), 2)
      return f(f(half(b, 108) * (low + 16 * high - 32)) * (q - (mask === 1 ? 0 : 4)))
    }
    case 'Q4_K': return (b, i) => {
      const group = Math.floor(i / 32)
      const q = bits(b, 16 + 32 * Math.floor(i / 64) + i % 32, group % 2 === 0 ? 0 : 4, 4)
      return f(f(f(half(b, 0) * scale6(b, group)) * q) - f(half(b, 2) * minimum6(b, group)))
    }
    case 'Q5_K': return (b, i) => {
      const group = Math.floor(i / 32)
      const q = bits(b, 48 + 32 * Math.floor(i / 64) + i % 32, group % 2 === 0 ? 0 : 4, 4) + 16 * bits(b, 16 + i % 32, group, 1)
      return f(f(f(half(b, 0) * scale6(b, group)) * q) - f(half(b, 2) * minimum6(b, group)))
    }
    case 'Q6_K': return (b, i) => {
      const [part, within] = [Math.floor(i / 128), i % 128]
      const low = bits(b, 64 * part + within % 64, within < 64 ? 0 : 4, 4)
      const high = bits(b, 128 + 32 * part + within % 32, 2 * Math.floor(within / 32), 2)
      return f(f(half(b, 208) * signed(b, 192 + Math.floor(i / 16))) * (low + 16 * high - 32))
    }
    case 'IQ2_XXS': return (b, i) => {
      const at = 2 + 8 * Math.floor(i / 32)
      const eight = Math.floor(i % 32 / 8)
      const magnitude = codebook[8 * byte(b, at + eight) + i % 8] ?? 0
      const stored = bits(b, at + 4, 7 * eight, 7)
      const numStored = [...stored.toString(2)].filter(digit => digit === '1').length
      const isMinus = i % 8 === 7 ? numStored % 2 === 1 : Math.floor(stored / 2 ** (i % 8)) % 2 === 1
      return f(f(f(half(b, 0) * (0.5 + bits(b, at + 4, 28, 4))) * 0.25) * magnitude) * (isMinus ? -1 : 1)
    }
    case 'IQ4_NL': return (b, i) => f(half(b, 0) * (IQ4_CODES[nibble(b, 2, i)] ?? 0))
    case 'IQ4_XS': return (b, i) => {
      const group = Math.floor(i / 32)
      const scale = bits(b, 4, 4 * group, 4) + 16 * bits(b, 2, 2 * group, 2) - 32
      return f(f(half(b, 0) * scale) * (IQ4_CODES[nibble(b, 8 + 16 * group, i % 32)] ?? 0))
    }
  }
}
