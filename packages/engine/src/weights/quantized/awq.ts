import { consecutiveGroups, readScales, SCALE_DTYPES, transposed } from './group-values.ts'
import { unpackAwq } from './packed-words.ts'
import type { QuantizedMatrix } from './quantized-matrix.ts'
import type { QuantizedModule } from './quantized-module.ts'
import type { AwqScheme } from './quantization-scheme.ts'
import { readWords } from './read-whole.ts'

/**
 * AutoAWQ's `gemm` layout: `qweight` I32 [in, out / 8], `qzeros` I32 [in / group, out / 8], both with a word's outputs in the order
 * 0, 2, 4, 6, 1, 3, 5, 7, and `scales` [in / group, out]; weight[o][i] = (q − z) · s.
 * @throws InvalidCheckpointError when a part is missing or does not fit the others
 * @see https://github.com/casper-hansen/AutoAWQ awq/modules/linear/gemm.py, awq/utils/packing_utils.py (dequantize_gemm)
 */
export function awqMatrix (module: QuantizedModule, scheme: AwqScheme): QuantizedMatrix {
  const qweight = module.tensor('qweight', ['I32'], [undefined, undefined])
  const [numColumns = 0, packedRows = 0] = qweight.shape
  const numRows = packedRows * 8
  const groupSize = scheme.groupSize ?? numColumns
  if (numColumns % groupSize !== 0) module.refuse('qweight', `has ${numColumns} inputs, which groups of ${groupSize} do not divide`)
  const numGroups = numColumns / groupSize
  const qzeros = module.tensor('qzeros', ['I32'], [numGroups, packedRows])
  const scales = module.tensor('scales', SCALE_DTYPES, [numGroups, numRows])
  return {
    name: `${module.name}.weight`,
    format: 'awq int4',
    bits: 4,
    numRows,
    numColumns,
    numGroups,
    byteLength: qweight.byteLength + qzeros.byteLength + scales.byteLength,
    async load () {
      const scaleOf = transposed(await readScales(module, 'scales', scales), numGroups, numRows, new Float32Array(numGroups * numRows))
      // The zeros of a row lie as the codes of a row of `numGroups` columns do.
      const zeros = new Uint8Array(numRows * numGroups)
      unpackAwq(await readWords(qzeros), numRows, numGroups, 0, numRows, zeros)
      const words = await readWords(qweight)
      return {
        scales: scaleOf,
        zeros,
        groupOf: consecutiveGroups(numColumns, groupSize),
        async readCodes (firstRow, count, codes) { unpackAwq(words, numRows, numColumns, firstRow, count, codes) }
      }
    }
  }
}
