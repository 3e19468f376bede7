import type { DecodeBlocks } from './decode-blocks.ts'
import { F16_VALUES } from './f16-values.ts'

/*
 * Super-blocks of 256 values with a scale (and, where there is one, a minimum) for every 16 or 32 of them, themselves quantised.
 * As in the smaller blocks every product is exact in double precision and storing it rounds once.
 */

/** d · s · q − dmin · m, q of 2 bits; block: 16 bytes of (s, m) nibbles, 64 bytes of q, f16 d, f16 dmin. */
export const decodeQ2K: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 84, to += 256) {
    const d = F16_VALUES[(source[at + 80] ?? 0) | (source[at + 81] ?? 0) << 8] ?? 0
    const dmin = F16_VALUES[(source[at + 82] ?? 0) | (source[at + 83] ?? 0) << 8] ?? 0
    for (let group = 0; group < 16; group++) {
      const nibbles = source[at + group] ?? 0
      const scale = d * (nibbles & 15)
      const minimum = dmin * (nibbles >>> 4)
      // 128 values share 32 bytes: every pair of groups is another two bits of them.
      const quants = at + 16 + 32 * (group >>> 3) + 16 * (group & 1)
      const shift = 2 * (group >>> 1 & 3)
      const first = to + 16 * group
      for (let j = 0; j < 16; j++) values[first + j] = scale * ((source[quants + j] ?? 0) >>> shift & 3) - minimum
    }
  }
}

/**
 * d · (s − 32) · (q − 4 or 0), q of 2 bits, the offset 0 where the mask's bit is set;
 * block: 32 bytes of mask, 64 bytes of q, sixteen 6-bit s in 12 bytes, f16 d.
 */
export const decodeQ3K: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 110, to += 256) {
    const d = F16_VALUES[(source[at + 108] ?? 0) | (source[at + 109] ?? 0) << 8] ?? 0
    for (let group = 0; group < 16; group++) {
      const lower = (source[at + 96 + (group & 7)] ?? 0) >>> 4 * (group >>> 3) & 15
      const upper = (source[at + 104 + (group & 3)] ?? 0) >>> 2 * (group >>> 2) & 3
      const scale = d * ((lower | upper << 4) - 32)
      const mask = at + 16 * (group & 1)
      const quants = at + 32 + 32 * (group >>> 3) + 16 * (group & 1)
      const shift = 2 * (group >>> 1 & 3)
      const maskBit = group >>> 1
      const first = to + 16 * group
      for (let j = 0; j < 16; j++) {
        const high = (source[mask + j] ?? 0) >>> maskBit & 1
        values[first + j] = scale * (((source[quants + j] ?? 0) >>> shift & 3 | high << 2) - 4)
      }
    }
  }
}

/** d · s · q − dmin · m, q of 4 bits; block: f16 d, f16 dmin, eight 6-bit s and m in 12 bytes, 128 bytes of nibbles. */
export const decodeQ4K: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 144, to += 256) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const dmin = F16_VALUES[(source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8] ?? 0
    for (let group = 0; group < 8; group += 2) {
      const lowScale = d * scaleOf(source, at + 4, group)
      const lowMinimum = dmin * minimumOf(source, at + 4, group)
      const highScale = d * scaleOf(source, at + 4, group + 1)
      const highMinimum = dmin * minimumOf(source, at + 4, group + 1)
      const quants = at + 16 + 16 * group
      const first = to + 32 * group
      for (let j = 0; j < 32; j++) {
        const pair = source[quants + j] ?? 0
        values[first + j] = lowScale * (pair & 15) - lowMinimum
        values[first + 32 + j] = highScale * (pair >>> 4) - highMinimum
      }
    }
  }
}

/** As Q4_K with a fifth bit of each q, 32 bytes of them before the nibbles: bit g of byte j belongs to value j of group g. */
export const decodeQ5K: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 176, to += 256) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const dmin = F16_VALUES[(source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8] ?? 0
    for (let group = 0; group < 8; group += 2) {
      const lowScale = d * scaleOf(source, at + 4, group)
      const lowMinimum = dmin * minimumOf(source, at + 4, group)
      const highScale = d * scaleOf(source, at + 4, group + 1)
      const highMinimum = dmin * minimumOf(source, at + 4, group + 1)
      const quants = at + 48 + 16 * group
      const first = to + 32 * group
      for (let j = 0; j < 32; j++) {
        const pair = source[quants + j] ?? 0
        const fifth = (source[at + 16 + j] ?? 0) >>> group
        values[first + j] = lowScale * (pair & 15 | (fifth & 1) << 4) - lowMinimum
        values[first + 32 + j] = highScale * (pair >>> 4 | (fifth & 2) << 3) - highMinimum
      }
    }
  }
}

/**
 * d · s · (q − 32), q of 6 bits; block: 128 bytes of lower nibbles, 64 of upper two bits, sixteen signed bytes s, f16 d.
 * Half a block at a time: byte j of its 64 lower bytes holds values j and j + 64, of its 32 upper ones four values 32 apart.
 */
export const decodeQ6K: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 210, to += 256) {
    const d = F16_VALUES[(source[at + 208] ?? 0) | (source[at + 209] ?? 0) << 8] ?? 0
    for (let part = 0; part < 4; part++) {
      // 16 of the half's 32 columns, which are 4 times 16 values with one scale each.
      const half = part >>> 1
      const column = 16 * (part & 1)
      const lower = at + 64 * half + column
      const upper = at + 128 + 32 * half + column
      const scales = at + 192 + 8 * half + (part & 1)
      const scale0 = d * ((source[scales] ?? 0) << 24 >> 24)
      const scale1 = d * ((source[scales + 2] ?? 0) << 24 >> 24)
      const scale2 = d * ((source[scales + 4] ?? 0) << 24 >> 24)
      const scale3 = d * ((source[scales + 6] ?? 0) << 24 >> 24)
      const first = to + 128 * half + column
      for (let j = 0; j < 16; j++) {
        const left = source[lower + j] ?? 0
        const right = source[lower + 32 + j] ?? 0
        const high = source[upper + j] ?? 0
        values[first + j] = scale0 * ((left & 15 | (high & 3) << 4) - 32)
        values[first + 32 + j] = scale1 * ((right & 15 | (high & 12) << 2) - 32)
        values[first + 64 + j] = scale2 * ((left >>> 4 | high & 48) - 32)
        values[first + 96 + j] = scale3 * ((right >>> 4 | high >>> 2 & 48) - 32)
      }
    }
  }
}

/** 6-bit scale `group` of Q4_K and Q5_K: the first four lie in the low bits of bytes 0 to 3, the others in nibbles and spare bits. */
function scaleOf (source: Uint8Array, at: number, group: number): number {
  if (group < 4) return (source[at + group] ?? 0) & 63
  return (source[at + group + 4] ?? 0) & 15 | (source[at + group - 4] ?? 0) >>> 6 << 4
}

function minimumOf (source: Uint8Array, at: number, group: number): number {
  if (group < 4) return (source[at + group + 4] ?? 0) & 63
  return (source[at + group + 4] ?? 0) >>> 4 | (source[at + group] ?? 0) >>> 6 << 4
}
