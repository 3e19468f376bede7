/**
 * Decodes `numBlocks` whole blocks that begin at byte `at` of `source` into `values` from `to` on, each value rounded once, to
 * nearest even: bit for bit what ggml's reference makes of them. Both arrays must be large enough.
 */
export type DecodeBlocks = (source: Uint8Array, at: number, numBlocks: number, values: Float32Array, to: number) => void
