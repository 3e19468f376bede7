import type { DecodeBlocks } from './decode-blocks.ts'
import { decodeIQ2XXS } from './decode-iq2-xxs-blocks.ts'
import { decodeIQ4NL, decodeIQ4XS } from './decode-iq4-blocks.ts'
import { decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from './decode-k-blocks.ts'
import { decodeQ40, decodeQ41, decodeQ50, decodeQ51, decodeQ80 } from './decode-legacy-blocks.ts'
import type { GgmlTypeName } from './ggml-types.ts'

/** Types stored value by value, which convert.ts reads. */
export type PlainTypeName = 'F32' | 'F16' | 'BF16'
export type BlockTypeName = Exclude<GgmlTypeName, PlainTypeName>

/** @see https://github.com/ggml-org/llama.cpp: `dequantize_row_…` of ggml-quants.c define the formats */
export const BLOCK_DECODERS: Readonly<Record<BlockTypeName, DecodeBlocks>> = Object.freeze({
  Q4_0: decodeQ40,
  Q4_1: decodeQ41,
  Q5_0: decodeQ50,
  Q5_1: decodeQ51,
  Q8_0: decodeQ80,
  Q2_K: decodeQ2K,
  Q3_K: decodeQ3K,
  Q4_K: decodeQ4K,
  Q5_K: decodeQ5K,
  Q6_K: decodeQ6K,
  IQ2_XXS: decodeIQ2XXS,
  IQ4_NL: decodeIQ4NL,
  IQ4_XS: decodeIQ4XS
})

export function isPlainType (name: GgmlTypeName): name is PlainTypeName {
  return name === 'F32' || name === 'F16' || name === 'BF16'
}
