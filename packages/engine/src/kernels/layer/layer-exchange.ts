import { layerProducts } from './layer-shape.ts'
import type { WholeLayerShape } from './layer-shape.ts'
import { unroll } from '../unroll.ts'

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
  /** `[row][q | k | v]` f32. */
  readonly qkv: number
  /** `[split][row][KV head][query head of the group][D/2]` pairs of f16, normalised, and the log of each one's sum of weights, f32; as many rows as there are. */
  readonly parts: number
  readonly logSums: number
  /** `[row][query head][D/2]` pairs of f16. */
  readonly attended: number
  /** `[row][hidden]` f32, the output projection. */
  readonly output: number
  /** `[row][intermediate/2]` pairs of f16. */
  readonly gated: number
  /** `[column tile][workgroup that shares it][row][16]` f32: the down projection's sums, where several workgroups share a column tile. */
  readonly down: number
  /** Words of a set. */
  readonly words: number
  /** Parts that a head's keys are cut into at most, of all rows together. */
  readonly splits: number
}

export function exchangeLayout (shape: WholeLayerShape): ExchangeLayout {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, rows, workgroups } = shape
  const { across = 1 } = layerProducts(shape)?.down ?? {}
  const splits = Math.floor(workgroups / numKVHeads)
  const qkv = HEADER
  const parts = qkv + rows * (numHeads + 2 * numKVHeads) * headDim
  const logSums = parts + splits * numHeads * headDim / 2
  const attended = logSums + splits * numHeads
  const output = attended + rows * numHeads * headDim / 2
  const gated = output + rows * hiddenSize
  const down = gated + rows * intermediateSize / 2
  const words = down + (across === 1 ? 0 : across * rows * hiddenSize)
  return { qkv, parts, logSums, attended, output, gated, down, words: Math.ceil(words / SET_ALIGNMENT) * SET_ALIGNMENT, splits }
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

/**
 * Waits for several words at once, each of which was looked for before: those that are not there when the first comes are looked for side by side, not one after the other.
 * @param areAllWanted else a word that is not wanted is not EMPTY
 */
export function waitForAll (names: readonly string[], at: (i: number) => string, areAllWanted: boolean): string {
  const each = (line: (name: string, i: number) => string): string => unroll(names.length, i => line(names[i] ?? '', i))
  return `for (var looks = 0u; ${names.map(name => `${name} == EMPTY`).join(' || ')}; looks++) {
      ${each((name, i) => areAllWanted ? `${name} = look(${at(i)});` : `if (${name} == EMPTY) { ${name} = look(${at(i)}); }`)}
      if (looks >= patience) { atomicStore(&exchange[0], 1u); break; }
      if ((looks & 255u) == 255u) {
        // Some compilers move a load out of its loop, atomic or not.
        ${each((name, i) => `if (${name} == EMPTY) { ${name} = atomicOr(&exchange[${at(i)}], 0u); }`)}
        if (atomicOr(&exchange[0], 0u) != 0u) { break; }
      }
    }`
}
