import { SeededRandom } from '../../fakes/seeded-random.ts'

export interface TinyShape {
  readonly dim: number
  readonly hiddenDim: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKVHeads: number
  readonly vocabSize: number
  readonly seqLen: number
  readonly tied: boolean
}

export const TIED: TinyShape = { dim: 32, hiddenDim: 48, numLayers: 2, numHeads: 4, numKVHeads: 4, vocabSize: 300, seqLen: 24, tied: true }
/** Two query heads for each KV head, a head of its own. */
export const UNTIED: TinyShape = { ...TIED, numLayers: 3, numKVHeads: 2, tied: false }

/** A checkpoint of random weights in llama2.c's layout of version 0. */
export function tinyCheckpoint (shape: TinyShape, seed: number): Buffer {
  const random = new SeededRandom(seed)
  const { dim, hiddenDim, numLayers, numHeads, numKVHeads, vocabSize, seqLen, tied } = shape
  const kvDim = dim / numHeads * numKVHeads
  const header = Int32Array.of(dim, hiddenDim, numLayers, numHeads, numKVHeads, tied ? vocabSize : -vocabSize, seqLen)
  // Large enough that attention is far from uniform.
  const matrix = (rows: number, columns: number): Float64Array => random.normals(rows * columns, 1.5 / Math.sqrt(columns))
  const norm = (): Float64Array => random.normals(dim, 0.2).map(value => 1 + value)
  const perLayer = (make: () => Float64Array): Float64Array[] => Array.from({ length: numLayers }, make)
  const sections = [
    matrix(vocabSize, dim),
    ...perLayer(norm),
    ...perLayer(() => matrix(dim, dim)),
    ...perLayer(() => matrix(kvDim, dim)),
    ...perLayer(() => matrix(kvDim, dim)),
    ...perLayer(() => matrix(dim, dim)),
    ...perLayer(norm),
    ...perLayer(() => matrix(hiddenDim, dim)),
    ...perLayer(() => matrix(dim, hiddenDim)),
    ...perLayer(() => matrix(hiddenDim, dim)),
    norm(),
    // The rotary tables, which nobody reads: what is taken from here is seen in the logits.
    new Float64Array(seqLen * dim / numHeads).fill(1e9),
    ...tied ? [] : [matrix(vocabSize, dim)]
  ]
  return Buffer.concat([little(header, 4, 'writeInt32LE'), ...sections.map(values => little(values, 4, 'writeFloatLE'))])
}

/** A tokenizer.bin: special tokens, bytes, pieces of two to four characters, letters, and fillers up to `vocabSize`; the lower the id, the better the score. */
export function tinyTokenizer (vocabSize: number, byteSpelling: 'character' | '<0xNN>'): Buffer {
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    byteSpelling === 'character' ? String.fromCharCode(byte) : `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
  const joined = [' t', 'he', 'in', ' the', 'ne', 'li', 'li' + 'ne', 'aa', 'aaa', 'aaaa', '  ', ' a', 'an', 'ana', 'é' + 'e', '東京', '==', '===', ' in', 'th']
  const letters = [...' taehinlé東京=.']
  const normal = [...joined, ...letters]
  const unused = Array.from({ length: vocabSize - 259 - normal.length }, (_, i) => `unused ${i}`)
  const texts = ['<unk>', '\n<s>\n', '\n</s>\n', ...bytes, ...normal, ...unused]
  const entries = texts.map((text, id) => tokenizerEntry(text, id < 259 ? 0 : 259 - id))
  return Buffer.concat([little([10], 4, 'writeInt32LE'), ...entries])
}

/** One token as tokenizer.bin holds it; `length` may lie. */
export function tokenizerEntry (text: string | Uint8Array, score: number, length = Buffer.from(text).length): Buffer {
  return Buffer.concat([little([score], 4, 'writeFloatLE'), little([length], 4, 'writeInt32LE'), Buffer.from(text)])
}

function little (values: ArrayLike<number>, size: number, method: 'writeInt32LE' | 'writeFloatLE'): Buffer {
  const bytes = Buffer.alloc(values.length * size)
  for (let i = 0; i < values.length; i++) bytes[method](values[i] ?? NaN, i * size)
  return bytes
}
