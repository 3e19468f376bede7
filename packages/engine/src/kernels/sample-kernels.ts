import { defineKernel } from './define-kernel.ts'
import { readShader } from './shader-source.ts'

/** How a row of logits is cut up, and how large what is written about it gets. Both kernels must be given the same. */
export interface SampleParts {
  /** Tokens of a part, a multiple of 64. */
  readonly PART: number
  readonly PARTS: number
  /** f32 of a row in `adjusted`: whole parts, so that vectors of four never cross rows. */
  readonly adjustedLength: number
  /** u32 of a row in `scan`. */
  readonly scanLength: number
}

const BINS = 512
const RECORD = 8

/** Equal parts of at most `most` tokens, one workgroup's: 38 share a row of 151,936. */
export function sampleParts (vocabSize: number, most = 4096): SampleParts {
  const PARTS = Math.ceil(vocabSize / most)
  const PART = 64 * Math.ceil(vocabSize / PARTS / 64)
  return { PART, PARTS, adjustedLength: PARTS * PART, scanLength: PARTS * (RECORD + PART / 8 + BINS) }
}

/**
 * What each part of each logit row holds: its most likely token, sums of exponentials, the maxima of 16 tokens each and, for rows
 * with top-p alone, bins of mass. Biases and penalties are applied on the way. Dispatch one workgroup per (part, row).
 *
 * Bytes: 4·rows·vocab, and where a workgroup's threads hold fewer than a part's chunks, the same again from the cache for top-p's bins;
 * a sixteenth of it is written. Penalties read as many counts, and write `adjusted` where a token is drawn.
 */
export const sampleScan = defineKernel({
  name: 'sample_scan',
  bindings: { logits: 'read', step: 'read', counts: 'read', adjusted: 'read_write', scan: 'read_write' },
  overrides: ['VOCAB', 'PART', 'PARTS', 'ROLLED', 'THREADS'],
  wgsl: readShader('sample_row') + readShader('sample_scan')
})

/**
 * Draws a token, or scores a given one, for every logit row. Dispatch one workgroup per row, behind `sampleScan`.
 *
 * Bytes: a greedy row reads the records of its parts, a drawn one also one part; cuts and top logprobs read the maxima, and of the
 * row the chunks of 16 whose maximum lies above the cut. Only where those are more than half of `LIST`, or the tokens to be looked at
 * more than `LIST`, is all of it read.
 */
export const sampleChoose = defineKernel({
  name: 'sample_choose',
  bindings: { logits: 'read', step: 'read', adjusted: 'read', scan: 'read', counts: 'read_write', sampled: 'read_write', results: 'read_write' },
  overrides: ['VOCAB', 'PART', 'PARTS', 'ROLLED', 'THREADS', 'LIST', 'RESULT_WORDS'],
  wgsl: readShader('sample_row') + readShader('sample_select') + readShader('sample_choose')
})
