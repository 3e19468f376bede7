import { InvalidCheckpointError } from '../../errors.ts'
import type { TensorSource, WeightTensor } from '../weight-tensor.ts'
import { ggufArchitecture } from './architectures.ts'
import { closeGgufFiles, openGgufFiles } from './gguf-files.ts'
import type { GgufFile } from './gguf-files.ts'
import type { GgufHeader } from './header.ts'
import type { GgufTensorEntry } from './tensor-infos.ts'
import { MetadataFields } from './metadata-fields.ts'
import { ggufConfig } from './model-config.ts'
import { readModelShape } from './model-shape.ts'
import { modelTensors } from './model-tensors.ts'
import type { GgufPart } from './model-tensors.ts'
import type { RopeFactors } from './rope-scaling.ts'
import { GgufRowReader } from './row-reader.ts'

/** A model in one GGUF file, or in several parts of one. */
export interface GgufModel extends TensorSource {
  /** In the form of a Hugging Face `config.json`, not yet checked as one. */
  readonly config: Record<string, unknown>
  /** Of the first part, which holds the metadata: the tokenizer and chat template among it. */
  readonly header: GgufHeader
  /** How many tensors are stored in each format, and their bytes. */
  readonly formats: ReadonlyMap<string, { readonly tensors: number, readonly bytes: number }>
}

/**
 * Opens a GGUF file; of a split model, any part. Its tensors are named, ordered and valued as in the model's Hugging Face
 * checkpoint. Reads the header and, where there are any, the rotary factors; no weights.
 * @throws InvalidCheckpointError when a file is missing, damaged or contradicts itself
 * @throws UnsupportedModelError for an architecture, or anything of a known one, that is not implemented
 */
export async function openGguf (path: string): Promise<GgufModel> {
  const files = await openGgufFiles(path)
  try {
    return await openModel(path, files)
  } catch (cause) {
    await closeGgufFiles(files)
    throw cause
  }
}

async function openModel (path: string, files: readonly GgufFile[]): Promise<GgufModel> {
  const [first] = files
  if (first === undefined) throw new Error(`${path}: opened no file`)
  const parts = files.flatMap(({ source, header }): readonly GgufPart[] => {
    const reader = new GgufRowReader(source)
    return [...header.tensors.values()].map(entry => ({ file: source.name, entry, reader }))
  })
  const entries = new Map(parts.map(({ entry }) => [entry.name, entry]))
  const metadata = new MetadataFields(first.source.name, first.header.metadata)
  const architecture = ggufArchitecture(metadata)
  const shape = readModelShape(metadata, entries)
  const factors = await readRopeFactors(parts, shape.rotaryDim)
  return {
    name: path,
    config: ggufConfig(metadata, { architecture, shape, tensors: entries, factors }),
    header: first.header,
    formats: countFormats(entries),
    tensors: modelTensors(parts, architecture, shape),
    [Symbol.asyncDispose]: () => closeGgufFiles(files)
  }
}

/** A divisor for every rotated pair. */
async function readRopeFactors (parts: readonly GgufPart[], rotaryDim: number): Promise<RopeFactors> {
  const read = async (name: string): Promise<readonly number[] | undefined> => {
    const part = parts.find(({ entry }) => entry.name === name)
    if (part === undefined) return undefined
    const { file, entry, reader } = part
    if (entry.shape.length !== 1 || entry.shape[0] !== rotaryDim / 2) {
      throw new InvalidCheckpointError(file, `has shape [${entry.shape.join(', ')}]; ${rotaryDim} rotated dimensions have ${rotaryDim / 2} pairs`, { tensor: name })
    }
    const values = new Float32Array(rotaryDim / 2)
    const tensor: WeightTensor = reader.tensor(entry, name)
    await tensor.readRowsInto(0, values.length, values)
    if (!values.every(value => value > 0 && Number.isFinite(value))) throw new InvalidCheckpointError(file, 'holds a factor that divides nothing', { tensor: name })
    return Array.from(values)
  }
  return {
    frequencies: await read('rope_freqs.weight'),
    long: await read('rope_factors_long.weight'),
    short: await read('rope_factors_short.weight')
  }
}

function countFormats (entries: ReadonlyMap<string, GgufTensorEntry>): GgufModel['formats'] {
  const formats = new Map<string, { tensors: number, bytes: number }>()
  for (const { type, byteLength } of entries.values()) {
    const { tensors, bytes } = formats.get(type) ?? { tensors: 0, bytes: 0 }
    formats.set(type, { tensors: tensors + 1, bytes: bytes + byteLength })
  }
  return formats
}
