import type { DecodeBlocks } from './decode-blocks.ts'
import { F16_VALUES } from './f16-values.ts'

/** What the sixteen codes stand for: denser near zero, where weights are. Source: `kvalues_iq4nl` of ggml-common.h. */
const CODES = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

/** d · code; block of 32: f16 d, 16 bytes of nibbles (value j low, value j + 16 high). */
export const decodeIQ4NL: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 18, to += 32) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    decodeCodes(source, at + 2, d, values, to)
  }
}

/** d · (s − 32) · code; block of 256: f16 d, the upper two bits of eight scales, their lower four, then eight times 16 bytes of nibbles. */
export const decodeIQ4XS: DecodeBlocks = (source, at, numBlocks, values, to) => {
  for (let block = 0; block < numBlocks; block++, at += 136, to += 256) {
    const d = F16_VALUES[(source[at] ?? 0) | (source[at + 1] ?? 0) << 8] ?? 0
    const upper = (source[at + 2] ?? 0) | (source[at + 3] ?? 0) << 8
    for (let group = 0; group < 8; group++) {
      const lower = (source[at + 4 + (group >>> 1)] ?? 0) >>> 4 * (group & 1) & 15
      const scale = lower | (upper >>> 2 * group & 3) << 4
      decodeCodes(source, at + 8 + 16 * group, d * (scale - 32), values, to + 32 * group)
    }
  }
}

function decodeCodes (source: Uint8Array, at: number, scale: number, values: Float32Array, to: number): void {
  for (let j = 0; j < 16; j++) {
    const pair = source[at + j] ?? 0
    values[to + j] = scale * (CODES[pair & 15] ?? 0)
    values[to + 16 + j] = scale * (CODES[pair >>> 4] ?? 0)
  }
}
