/** The storage types whose values this package can read, as ggml names them. */
export type GgmlTypeName =
  | 'F32' | 'F16' | 'BF16'
  | 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0'
  | 'Q2_K' | 'Q3_K' | 'Q4_K' | 'Q5_K' | 'Q6_K'
  | 'IQ2_XXS' | 'IQ4_NL' | 'IQ4_XS'

export interface GgmlType {
  readonly name: GgmlTypeName
  /** Consecutive values of a row that are stored together. */
  readonly valuesPerBlock: number
  readonly bytesPerBlock: number
}

/**
 * By the number a GGUF file stores.
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and the block structures of ggml-common.h
 */
export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map<number, GgmlType>([
  [0, { name: 'F32', valuesPerBlock: 1, bytesPerBlock: 4 }],
  [1, { name: 'F16', valuesPerBlock: 1, bytesPerBlock: 2 }],
  [30, { name: 'BF16', valuesPerBlock: 1, bytesPerBlock: 2 }],
  [2, { name: 'Q4_0', valuesPerBlock: 32, bytesPerBlock: 18 }],
  [3, { name: 'Q4_1', valuesPerBlock: 32, bytesPerBlock: 20 }],
  [6, { name: 'Q5_0', valuesPerBlock: 32, bytesPerBlock: 22 }],
  [7, { name: 'Q5_1', valuesPerBlock: 32, bytesPerBlock: 24 }],
  [8, { name: 'Q8_0', valuesPerBlock: 32, bytesPerBlock: 34 }],
  [10, { name: 'Q2_K', valuesPerBlock: 256, bytesPerBlock: 84 }],
  [11, { name: 'Q3_K', valuesPerBlock: 256, bytesPerBlock: 110 }],
  [12, { name: 'Q4_K', valuesPerBlock: 256, bytesPerBlock: 144 }],
  [13, { name: 'Q5_K', valuesPerBlock: 256, bytesPerBlock: 176 }],
  [14, { name: 'Q6_K', valuesPerBlock: 256, bytesPerBlock: 210 }],
  [16, { name: 'IQ2_XXS', valuesPerBlock: 256, bytesPerBlock: 66 }],
  [20, { name: 'IQ4_NL', valuesPerBlock: 32, bytesPerBlock: 18 }],
  [23, { name: 'IQ4_XS', valuesPerBlock: 256, bytesPerBlock: 136 }]
])

/** Types ggml knows and this package does not, so that a refusal can name them. */
export const UNREADABLE_GGML_TYPES: ReadonlyMap<number, string> = new Map([
  [4, 'Q4_2'], [5, 'Q4_3'], [9, 'Q8_1'], [15, 'Q8_K'], [17, 'IQ2_XS'], [18, 'IQ3_XXS'], [19, 'IQ1_S'], [21, 'IQ3_S'], [22, 'IQ2_S'],
  [24, 'I8'], [25, 'I16'], [26, 'I32'], [27, 'I64'], [28, 'F64'], [29, 'IQ1_M'], [31, 'Q4_0_4_4'], [32, 'Q4_0_4_8'], [33, 'Q4_0_8_8'],
  [34, 'TQ1_0'], [35, 'TQ2_0'], [36, 'IQ4_NL_4_4'], [37, 'IQ4_NL_4_8'], [38, 'IQ4_NL_8_8'], [39, 'MXFP4']
])

const TYPES_BY_NAME: ReadonlyMap<string, GgmlType> = new Map([...GGML_TYPES.values()].map(type => [type.name, type]))

/** The layout of a type's blocks. */
export function ggmlType (name: GgmlTypeName): GgmlType {
  const type = TYPES_BY_NAME.get(name)
  if (type === undefined) throw new Error(`no ggml type is named ${name}`)
  return type
}
