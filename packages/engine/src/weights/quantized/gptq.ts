import { consecutiveGroups, readGroupIndex, readScales, SCALE_DTYPES, transposed } from './group-values.ts'
import { unpackGptq, unpackRows } from './packed-words.ts'
import type { QuantizedMatrix } from './quantized-matrix.ts'
import type { QuantizedModule } from './quantized-module.ts'
import type { GptqScheme } from './quantization-scheme.ts'
import { readWords } from './read-whole.ts'
import type { CheckpointTensor } from '../checkpoint.ts'

/**
 * GPTQ's layout: `qweight` I32 [in / p, out] with p = 32 / bits inputs in a word, `qzeros` I32 [groups, out / p], `scales`
 * [groups, out] and `g_idx` I32 [in], the group of each input; weight[o][i] = (q − z) · s. Format `gptq` stores z − 1 in as many bits
 * as a code has, so the sum wraps: a stored 15 is zero 0, as AutoGPTQ's and GPTQModel's kernels have it.
 * @throws InvalidCheckpointError when a part is missing or does not fit the others
 * @see https://github.com/AutoGPTQ/AutoGPTQ auto_gptq/nn_modules/qlinear/qlinear_cuda.py
 * @see https://github.com/ModelCloud/GPTQModel gptqmodel/utils/model.py (convert_gptq_v1_to_v2_format_module)
 */
export function gptqMatrix (module: QuantizedModule, scheme: GptqScheme): QuantizedMatrix {
  const { bits, zeroOffset } = scheme
  const perWord = 32 / bits
  const qweight = module.tensor('qweight', ['I32'], [undefined, undefined])
  const [packedColumns = 0, numRows = 0] = qweight.shape
  const numColumns = packedColumns * perWord
  if (numRows % perWord !== 0) module.refuse('qweight', `has ${numRows} outputs, no multiple of the ${perWord} whose zeros share a word`)
  const groupSize = scheme.groupSize ?? numColumns
  const numGroups = Math.ceil(numColumns / groupSize)
  const qzeros = module.tensor('qzeros', ['I32'], [numGroups, numRows / perWord])
  const scales = module.tensor('scales', SCALE_DTYPES, [numGroups, numRows])
  const index = module.has('g_idx') || scheme.actOrder ? module.tensor('g_idx', ['I32'], [numColumns]) : undefined
  return {
    name: `${module.name}.weight`,
    format: `gptq int${bits}`,
    bits,
    numRows,
    numColumns,
    numGroups,
    byteLength: module.used.reduce((bytes, part) => bytes + part.byteLength, 0),
    async load () {
      const scaleOf = transposed(await readScales(module, 'scales', scales), numGroups, numRows, new Float32Array(numGroups * numRows))
      const stored = new Uint8Array(numGroups * numRows)
      unpackRows(await readWords(qzeros), bits, stored)
      for (let i = 0; i < stored.length; i++) stored[i] = (stored[i] ?? 0) + zeroOffset & (1 << bits) - 1
      const groupOf = await readGroups(module, index, numColumns, groupSize, numGroups)
      const words = await readWords(qweight)
      return {
        scales: scaleOf,
        zeros: transposed(stored, numGroups, numRows, new Uint8Array(numGroups * numRows)),
        groupOf,
        async readCodes (firstRow, count, codes) { unpackGptq(words, numRows, bits, numColumns, firstRow, count, codes) }
      }
    }
  }
}

async function readGroups (module: QuantizedModule, index: CheckpointTensor | undefined, numColumns: number, groupSize: number, numGroups: number): Promise<Uint32Array> {
  if (index !== undefined) {
    const groups = await readGroupIndex(module, 'g_idx', index, numGroups)
    // Early quantisers left an unused index at 0, which exllama reads as none.
    if (groups.some(group => group !== 0)) return groups
  }
  return consecutiveGroups(numColumns, groupSize)
}
