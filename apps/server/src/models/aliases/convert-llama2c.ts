import { createHash } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { DamagedCheckpointError } from './errors.ts'
import { LLAMA2C_HEADER_BYTES, readLlama2cCheckpoint } from './llama2c-checkpoint.ts'
import type { Llama2cCheckpoint, Llama2cConfig, Llama2cTensor } from './llama2c-checkpoint.ts'
import { readLlama2cTokenizer } from './llama2c-tokenizer.ts'
import { spmTokenizerConfig, spmTokenizerJson } from './spm-tokenizer-json.ts'

/** A file that holds a checkpoint, and behind it, to its end, the tokenizer. */
export interface Llama2cBundle {
  readonly file: string
  readonly checkpointBytes: number
}

/**
 * Writes a llama2.c model as a Hugging Face directory: configuration, f32 safetensors, tokenizer, and `hashes.json` last. llama2.c
 * rotates neighbouring elements of a head, Hugging Face those half a head apart; the rows of the query and key projections are put in
 * the order that makes the two the same.
 * @param directory exists; files of these names in it are replaced
 * @param throwIfStopped called before every tensor: what it throws ends the conversion
 * @throws DamagedCheckpointError (rejects)
 */
export async function convertLlama2c ({ file, checkpointBytes }: Llama2cBundle, directory: string, throwIfStopped = () => {}): Promise<void> {
  const source = await open(file, 'r')
  try {
    const { size } = await source.stat()
    if (size < checkpointBytes) throw new DamagedCheckpointError({ file, problem: `has ${size} bytes where the checkpoint alone takes ${checkpointBytes}` })
    const header = await readExactly(source, file, 0, Math.min(LLAMA2C_HEADER_BYTES, checkpointBytes))
    const checkpoint = readLlama2cCheckpoint(header, checkpointBytes, file)
    const tokenizerBytes = await readExactly(source, file, checkpointBytes, size - checkpointBytes)
    const pieces = readLlama2cTokenizer(tokenizerBytes, checkpoint.config.vocabSize, file)
    const documents = {
      'config.json': huggingFaceConfig(checkpoint.config),
      // The model was trained on texts with BOS between them, so that is how it says that one has ended; run.c stops there too.
      'generation_config.json': { bos_token_id: 1, eos_token_id: [1, 2] },
      'tokenizer.json': spmTokenizerJson(pieces),
      'tokenizer_config.json': spmTokenizerConfig(checkpoint.config.seqLen)
    }
    const hashes: Record<string, string> = {}
    for (const [name, document] of Object.entries(documents)) hashes[name] = await writeJson(join(directory, name), document)
    const readTensor = async ({ offset, numBytes }: Llama2cTensor): Promise<Buffer> => await readExactly(source, file, offset, numBytes)
    hashes['model.safetensors'] = await writeWeights(join(directory, 'model.safetensors'), checkpoint, readTensor, throwIfStopped)
    await writeJson(join(directory, 'hashes.json'), hashes)
  } finally {
    await source.close()
  }
}

function huggingFaceConfig (config: Llama2cConfig): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: config.dim,
    intermediate_size: config.hiddenDim,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    num_key_value_heads: config.numKVHeads,
    head_dim: config.dim / config.numHeads,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.seqLen,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: config.tied,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: 'float32'
  }
}

/** Tensor by tensor, so that one matrix at a time is in memory. @returns the file's sha256 */
async function writeWeights (
  path: string, { tensors }: Llama2cCheckpoint, readTensor: (tensor: Llama2cTensor) => Promise<Buffer>, throwIfStopped: () => void
): Promise<string> {
  const target = await open(path, 'w')
  const hash = createHash('sha256')
  try {
    const header = safetensorsHeader(tensors)
    hash.update(header)
    await target.writeFile(header)
    for (const tensor of tensors) {
      throwIfStopped()
      const values = await readTensor(tensor)
      const ordered = tensor.rotatedHeads === undefined ? values : halvesFromPairs(values, tensor.rotatedHeads, 4 * (tensor.shape[1] ?? 0))
      hash.update(ordered)
      await target.writeFile(ordered)
    }
    await target.sync()
  } finally {
    await target.close()
  }
  return hash.digest('hex')
}

function safetensorsHeader (tensors: readonly Llama2cTensor[]): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const { name, shape, numBytes } of tensors) header[name] = { dtype: 'F32', shape, data_offsets: [end, end += numBytes] }
  const json = Buffer.from(JSON.stringify(header))
  // Padded so that the values start at a multiple of eight bytes, as the format's own writers do.
  const bytes = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  bytes.writeBigUInt64LE(BigInt(bytes.length - 8))
  json.copy(bytes, 8)
  return bytes
}

/** Within each head: rows 0, 2, 4, … and then 1, 3, 5, … */
function halvesFromPairs (rows: Buffer, numHeads: number, rowBytes: number): Buffer {
  const numRows = rows.length / rowBytes
  const half = numRows / numHeads / 2
  const ordered = Buffer.allocUnsafe(rows.length)
  for (let row = 0; row < numRows; row++) {
    const inHead = row % (2 * half)
    const from = row - inHead + 2 * (inHead % half) + (inHead < half ? 0 : 1)
    rows.copy(ordered, row * rowBytes, from * rowBytes, (from + 1) * rowBytes)
  }
  return ordered
}

async function readExactly (source: FileHandle, file: string, position: number, numBytes: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(numBytes)
  for (let done = 0; done < numBytes;) {
    const { bytesRead } = await source.read(bytes, done, numBytes - done, position + done)
    if (bytesRead === 0) throw new DamagedCheckpointError({ file, problem: `ends at byte ${position + done}` })
    done += bytesRead
  }
  return bytes
}

/** @returns the file's sha256 */
async function writeJson (path: string, document: object): Promise<string> {
  const text = JSON.stringify(document, null, 1) + '\n'
  await writeFile(path, text)
  return createHash('sha256').update(text).digest('hex')
}
