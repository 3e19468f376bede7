import { converter } from '../convert.ts'
import { isPlainDtype } from '../safetensors.ts'
import type { StoredDtype } from '../safetensors.ts'
import type { QuantizedModule } from './quantized-module.ts'
import { readWhole, readWords } from './read-whole.ts'
import type { CheckpointTensor } from '../checkpoint.ts'

/** What scales may be stored as. */
export const SCALE_DTYPES: readonly StoredDtype[] = Object.freeze(['F16', 'BF16', 'F32'])

// A code's distance from its zero is below 256: up to here the product is a finite f32.
const LARGEST_SCALE = 2 ** 119

/**
 * A tensor of scales as f32, in its own order.
 * @throws InvalidCheckpointError when one is not a number or so large that no finite weight can be made of it
 */
export async function readScales (module: QuantizedModule, suffix: string, tensor: CheckpointTensor): Promise<Float32Array> {
  const bytes = await readWhole(tensor)
  if (!isPlainDtype(tensor.dtype)) return module.refuse(suffix, `stores ${tensor.dtype}, which is no scale`)
  const scales = new Float32Array(tensor.shape.reduce((count, size) => count * size, 1))
  converter(tensor.dtype, 'f32')(bytes, scales.length, scales, 0)
  const at = scales.findIndex(scale => !(Math.abs(scale) <= LARGEST_SCALE))
  if (at >= 0) module.refuse(suffix, `scale ${at} is ${scales[at]}`)
  return scales
}

/** [numGroups][numRows] as [numRows][numGroups]. */
export function transposed<Values extends Float32Array | Uint8Array> (values: Values, numGroups: number, numRows: number, into: Values): Values {
  for (let group = 0; group < numGroups; group++) {
    for (let row = 0; row < numRows; row++) into[row * numGroups + group] = values[group * numRows + row] ?? 0
  }
  return into
}

/** Consecutive columns in groups of `groupSize`; the last may be smaller. */
export function consecutiveGroups (numColumns: number, groupSize: number): Uint32Array {
  return Uint32Array.from({ length: numColumns }, (_, column) => Math.floor(column / groupSize))
}

/**
 * The group of each column as `g_idx` gives it. @throws InvalidCheckpointError when one is none of the groups
 */
export async function readGroupIndex (module: QuantizedModule, suffix: string, tensor: CheckpointTensor, numGroups: number): Promise<Uint32Array> {
  // A negative group is a large one in unsigned words.
  const groups = await readWords(tensor)
  const at = groups.findIndex(group => group >= numGroups)
  if (at >= 0) module.refuse(suffix, `puts column ${at} in group ${(groups[at] ?? 0) | 0} of ${numGroups}`)
  return groups
}
