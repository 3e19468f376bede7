import { DamagedCheckpointError } from './errors.ts'

/** Bytes of the header: seven little-endian int32. */
export const LLAMA2C_HEADER_BYTES = 28

/** The header of a llama2.c checkpoint, in llama2.c's words. */
export interface Llama2cConfig {
  readonly dim: number
  readonly hiddenDim: number
  readonly numLayers: number
  readonly numHeads: number
  readonly numKVHeads: number
  readonly vocabSize: number
  /** Longest sequence the model was trained for, in tokens. */
  readonly seqLen: number
  /** Whether the embedding is the output head as well. */
  readonly tied: boolean
}

/** One matrix or vector of one layer. */
export interface Llama2cTensor {
  /** What Hugging Face calls it. */
  readonly name: string
  readonly shape: readonly number[]
  /** From the start of the checkpoint, in bytes; the f32 values follow one another in row-major order. */
  readonly offset: number
  readonly numBytes: number
  /** Set where the rows are those of so many rotated heads, each with its pairs side by side. */
  readonly rotatedHeads: number | undefined
}

export interface Llama2cCheckpoint {
  readonly config: Llama2cConfig
  /** In the file's order. */
  readonly tensors: readonly Llama2cTensor[]
}

interface Section {
  /** Undefined for the rotary tables, which follow from the shape and are passed over. */
  readonly name: ((layer: number) => string) | undefined
  readonly shape: readonly number[]
  readonly copies: number
  readonly rotatedHeads?: number
}

/**
 * Where everything lies in a llama2.c checkpoint of version 0 (`export.py --version 0`, what `run.c` reads): the header, then f32
 * values, each kind of tensor over all layers. A negative vocabulary size in the header says that the head is a matrix of its own.
 * @param header the first bytes of the checkpoint
 * @param numBytes of the whole checkpoint, which must be exactly what the header implies
 * @throws DamagedCheckpointError
 */
export function readLlama2cCheckpoint (header: Uint8Array, numBytes: number, file: string): Llama2cCheckpoint {
  const config = readHeader(header, file)
  const sections = sectionsOf(config)
  // Before any list is made: a damaged header may claim two thousand million layers.
  const expected = LLAMA2C_HEADER_BYTES + sections.reduce((sum, { shape, copies }) => sum + copies * bytesOf(shape), 0)
  if (expected !== numBytes) {
    throw new DamagedCheckpointError({ file, problem: `has ${numBytes} bytes where its header implies ${expected}` })
  }
  let offset = LLAMA2C_HEADER_BYTES
  const tensors = sections.flatMap(({ name, shape, copies, rotatedHeads }) => {
    const start = offset
    offset += copies * bytesOf(shape)
    if (name === undefined) return []
    return Array.from({ length: copies }, (_, layer): Llama2cTensor => ({
      name: name(layer), shape, offset: start + layer * bytesOf(shape), numBytes: bytesOf(shape), rotatedHeads
    }))
  })
  return { config, tensors }
}

function readHeader (header: Uint8Array, file: string): Llama2cConfig {
  if (header.byteLength < LLAMA2C_HEADER_BYTES) {
    throw new DamagedCheckpointError({ file, problem: `has ${header.byteLength} bytes where its header alone takes ${LLAMA2C_HEADER_BYTES}` })
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  const field = (i: number) => view.getInt32(4 * i, true)
  const vocabSize = field(5)
  const config: Llama2cConfig = {
    dim: field(0), hiddenDim: field(1), numLayers: field(2), numHeads: field(3), numKVHeads: field(4), vocabSize: Math.abs(vocabSize), seqLen: field(6), tied: vocabSize > 0
  }
  const bad = Object.entries(config).find(([, value]) => typeof value === 'number' && value <= 0)
  if (bad !== undefined) throw new DamagedCheckpointError({ file, problem: `its header gives ${bad[0]} as ${String(bad[1])}` })
  const { dim, numHeads, numKVHeads } = config
  if (dim % (2 * numHeads) !== 0 || numHeads % numKVHeads !== 0) {
    throw new DamagedCheckpointError({ file, problem: `its header gives ${numHeads} heads over ${numKVHeads} KV heads in a width of ${dim}` })
  }
  return config
}

function sectionsOf (config: Llama2cConfig): readonly Section[] {
  const { dim, hiddenDim, numLayers, numHeads, numKVHeads, vocabSize, seqLen, tied } = config
  const kvDim = dim / numHeads * numKVHeads
  const rotaryTable: Section = { name: undefined, shape: [seqLen, dim / numHeads / 2], copies: 1 }
  const single = (name: string, shape: readonly number[]): Section => ({ name: () => name, shape, copies: 1 })
  const layered = (name: string, shape: readonly number[]): Section =>
    ({ name: layer => `model.layers.${layer}.${name}.weight`, shape, copies: numLayers })
  return [
    single('model.embed_tokens.weight', [vocabSize, dim]),
    layered('input_layernorm', [dim]),
    { ...layered('self_attn.q_proj', [dim, dim]), rotatedHeads: numHeads },
    { ...layered('self_attn.k_proj', [kvDim, dim]), rotatedHeads: numKVHeads },
    layered('self_attn.v_proj', [kvDim, dim]),
    layered('self_attn.o_proj', [dim, dim]),
    layered('post_attention_layernorm', [dim]),
    layered('mlp.gate_proj', [hiddenDim, dim]),
    layered('mlp.down_proj', [dim, hiddenDim]),
    layered('mlp.up_proj', [hiddenDim, dim]),
    single('model.norm.weight', [dim]),
    rotaryTable,
    rotaryTable,
    ...tied ? [] : [single('lm_head.weight', [vocabSize, dim])]
  ]
}

function bytesOf (shape: readonly number[]): number {
  return 4 * shape.reduce((product, size) => product * size, 1)
}
