import { join } from 'node:path'
import type { ModelSource } from '../engine.ts'
import { Checkpoint } from '../weights/checkpoint.ts'
import { openGguf } from '../weights/gguf/index.ts'
import { dequantizedTensors, parseQuantization, withoutZeroBiases } from '../weights/quantized/index.ts'
import type { QuantizationScheme } from '../weights/quantized/index.ts'
import { readJsonFile } from '../weights/read-json-file.ts'
import { plainTensor } from '../weights/plain-tensor.ts'
import { RowReader } from '../weights/row-reader.ts'
import type { TensorSource, WeightTensor } from '../weights/weight-tensor.ts'
import { decoderTensors } from './decoder-tensors.ts'
import { JsonFields } from './json-fields.ts'
import type { ModelConfig } from './model-config.ts'
import { parseModelConfig } from './parse-model-config.ts'
import { listTensors } from './tensor-list.ts'

/** A model's files, opened and understood; no weight has been read but biases that may be none. Disposing it closes them. */
export interface OpenModel extends AsyncDisposable {
  readonly config: ModelConfig
  readonly source: TensorSource
  /** How a directory's weights are quantised; undefined for plain ones, and for GGUF, whose formats say it. */
  readonly quantization: QuantizationScheme | undefined
}

// Real ones have a few kilobytes; a model with experts of its own names lists them.
const MAX_CONFIG_BYTES = 1 << 20

/**
 * Opens a model on disk: a Hugging Face directory, plain or with quantised weights, or a GGUF file.
 * @throws InvalidCheckpointError, InvalidModelConfigError, UnsupportedModelError
 */
export async function openModel (model: Exclude<ModelSource, { type: 'synthetic' }>): Promise<OpenModel> {
  if (model.type === 'gguf') {
    const gguf = await openGguf(model.path)
    return await opened(gguf, gguf.config)
  }
  const json = await readJsonFile(join(model.path, 'config.json'), MAX_CONFIG_BYTES)
  // The configuration first, and its quantisation: what they ask for is the better message where the tensors are odd as well.
  const config = parseModelConfig(json)
  const quantization = quantizationOf(json)
  const scheme = quantization === undefined ? undefined : parseQuantization(quantization)
  const checkpoint = await Checkpoint.open(model.path)
  try {
    return {
      config,
      source: await tensorSource(checkpoint, config, quantization),
      quantization: scheme,
      [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose]()
    }
  } catch (error) {
    await checkpoint[Symbol.asyncDispose]()
    throw error
  }
}

async function opened (source: TensorSource, json: unknown): Promise<OpenModel> {
  try {
    return { config: parseModelConfig(json), source, quantization: undefined, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() }
  } catch (error) {
    await source[Symbol.asyncDispose]()
    throw error
  }
}

async function tensorSource (checkpoint: Checkpoint, config: ModelConfig, quantization: unknown): Promise<TensorSource> {
  const tensors = quantization === undefined ? plainTensors(checkpoint) : await quantizedTensors(checkpoint, config, quantization)
  return { name: checkpoint.directory, tensors, [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose]() }
}

function plainTensors ({ tensors }: Checkpoint): ReadonlyMap<string, WeightTensor> {
  const reader = new RowReader()
  return new Map([...tensors].map(([name, tensor]) => [name, plainTensor(tensor, reader)]))
}

async function quantizedTensors ({ tensors, directory }: Checkpoint, config: ModelConfig, quantization: unknown): Promise<ReadonlyMap<string, WeightTensor>> {
  const needed = new Set(listTensors(decoderTensors(config)).map(({ name }) => name))
  return dequantizedTensors(quantization, await withoutZeroBiases(tensors, needed, directory), directory)
}

/** Older files of compressed-tensors say `compression_config`; MLX says `quantization` for what only it reads. */
function quantizationOf (json: unknown): unknown {
  const fields = JsonFields.of(json, '')
  return fields.get('quantization_config') ?? fields.get('compression_config') ?? fields.get('quantization')
}
