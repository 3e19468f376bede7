import type { WholeLayerShape } from './layer-shape.ts'

/** Words that a set begins with: whether a wait was given up, in this layer or one before, and how often a wait looks before it is. */
const HEADER = 2

/** A set begins where a binding may. */
const SET_ALIGNMENT = 64

/** Looks of a wait before it is given up: about a second, since a look takes 0.7 us, and a step's waits are over in a few. */
export const longPatience = 1_000_000

/** The same while it is tried whether workgroups run side by side. */
export const shortPatience = 50_000

/**
 * Where a layer's workgroups leave for each other what they computed, in words from the beginning of its set.
 *
 * A word that nobody has written yet is all ones, and no value is. So a reader knows from the word alone whether it is there, and all that is asked
 * of the memory is that an atomic load sees, some day, what an atomic store wrote: WGSL orders nothing else between workgroups. Layers use
 * sets in turns; each empties its predecessor's, which by then is read.
 */
export interface ExchangeLayout {
  /** `[q | k | v]` f32. */
  readonly qkv: number
  /** `[split][KV head][query head of the group][D/2]` pairs of f16, normalised, and the log of each one's sum of weights, f32. */
  readonly parts: number
  readonly logSums: number
  /** `[query head][D/2]` pairs of f16. */
  readonly attended: number
  /** `[hidden]` f32, the output projection. */
  readonly output: number
  /** `[intermediate/2]` pairs of f16. */
  readonly gated: number
  /** Words of a set. */
  readonly words: number
  /** Parts that a head's keys are cut into at most. */
  readonly splits: number
}

export function exchangeLayout ({ hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, workgroups }: WholeLayerShape): ExchangeLayout {
  const splits = Math.floor(workgroups / numKVHeads)
  const qkv = HEADER
  const parts = qkv + (numHeads + 2 * numKVHeads) * headDim
  const logSums = parts + splits * numHeads * headDim / 2
  const attended = logSums + splits * numHeads
  const output = attended + numHeads * headDim / 2
  const gated = output + hiddenSize
  return { qkv, parts, logSums, attended, output, gated, words: Math.ceil((gated + intermediateSize / 2) / SET_ALIGNMENT) * SET_ALIGNMENT, splits }
}

/** Sets that so many layers need to take turns, from step to step. */
export function exchangeSets (layers: number): number {
  return layers % 2 === 0 ? 2 : 3
}

/** The set of a layer. Of an odd number of layers the last has its own, since the first follows it. */
export function exchangeSet (layer: number, layers: number): number {
  return layers % 2 === 1 && layer === layers - 1 ? 2 : layer % 2
}

/** Words of a new set: empty, but for its header. */
export function emptySet (words: number, patience: number): Uint32Array<ArrayBuffer> {
  const set = new Uint32Array(words).fill(0xffffffff)
  set[0] = 0
  set[1] = patience
  return set
}

/**
 * Needs a layer's set `exchange` and its predecessor's, `emptied`, both `array<atomic<u32>>`. A wait that is given up leaves its mark in word 0, which ends
 * all others soon, those of the layers behind included; its value is a NaN.
 */
export const exchangeFunctions = `const EMPTY = 0xffffffffu;
const HEADER_WORDS = ${HEADER}u;
var<private> patience: u32;
/** To be called before any wait, by all. */
fn take_over(index: u32, count: u32) {
  patience = atomicLoad(&exchange[1]);
  if (index == 0u && atomicLoad(&emptied[0]) != 0u) { atomicStore(&exchange[0], 1u); }
  for (var n = index + HEADER_WORDS; n < arrayLength(&emptied); n += count) { atomicStore(&emptied[n], EMPTY); }
}
fn publish(at: u32, value: u32) { atomicStore(&exchange[at], select(value, 0x7fc00000u, value == EMPTY)); }
fn look(at: u32) -> u32 { return atomicLoad(&exchange[at]); }
/** The word at a place, of which \`seen\` was the last that was seen. */
fn wait(at: u32, seen: u32) -> u32 {
  var value = seen;
  for (var looks = 0u; value == EMPTY && looks < patience; looks++) {
    value = look(at);
    if ((looks & 255u) == 255u) {
      // Some compilers move a load out of its loop, atomic or not.
      value = atomicOr(&exchange[at], 0u);
      if (atomicOr(&exchange[0], 0u) != 0u) { break; }
    }
  }
  if (value == EMPTY) { atomicStore(&exchange[0], 1u); }
  return value;
}`
