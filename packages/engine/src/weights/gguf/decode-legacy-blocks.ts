import type { DecodeBlocks } from './decode-blocks.ts'
import { F16_VALUES } from './f16-values.ts'

/*
 * Blocks of 32 values in two halves: byte j of the quants holds value j in its low nibble and value j + 16 in its high one.
 * All products below are exact in double precision, so that storing a value rounds once, as float arithmetic does.
 */

/** d · (q − 8); block: f16 d, 16 bytes of nibbles. */
export const decodeQ40: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 18, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    for (let j = 0; j < 16; j++) {
      const pair = source[at + 2 + j] ?? 0
      values[to + j] = d * ((pair & 15) - 8)
      values[to + 16 + j] = d * ((pair >>> 4) - 8)
    }
  }
}

/** d · q + m; block: f16 d, f16 m, 16 bytes of nibbles. */
export const decodeQ41: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 20, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const m = F16_VALUES[(source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8] ?? 0
    for (let j = 0; j < 16; j++) {
      const pair = source[at + 4 + j] ?? 0
      values[to + j] = d * (pair & 15) + m
      values[to + 16 + j] = d * (pair >>> 4) + m
    }
  }
}

/** d · (q − 16); block: f16 d, the 32 fifth bits, 16 bytes of nibbles. */
export const decodeQ50: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 22, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const low = (source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8
    const high = (source[at + 4] ?? 0) | (source[at + 5] ?? 0) << 8
    for (let j = 0; j < 16; j++) {
      const pair = source[at + 6 + j] ?? 0
      values[to + j] = d * ((pair & 15 | (low >>> j & 1) << 4) - 16)
      values[to + 16 + j] = d * ((pair >>> 4 | (high >>> j & 1) << 4) - 16)
    }
  }
}

/** d · q + m; block: f16 d, f16 m, the 32 fifth bits, 16 bytes of nibbles. */
export const decodeQ51: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 24, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const m = F16_VALUES[(source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8] ?? 0
    const low = (source[at + 4] ?? 0) | (source[at + 5] ?? 0) << 8
    const high = (source[at + 6] ?? 0) | (source[at + 7] ?? 0) << 8
    for (let j = 0; j < 16; j++) {
      const pair = source[at + 8 + j] ?? 0
      values[to + j] = d * (pair & 15 | (low >>> j & 1) << 4) + m
      values[to + 16 + j] = d * (pair >>> 4 | (high >>> j & 1) << 4) + m
    }
  }
}

/** d · q; block: f16 d, 32 signed bytes. */
export const decodeQ80: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 34, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    for (let j = 0; j < 32; j++) values[to + j] = d * ((source[at + 2 + j] ?? 0) << 24 >> 24)
  }
}
