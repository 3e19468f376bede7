import { join } from 'node:path'
import type { ModelSource } from '../engine.ts'
import { Checkpoint } from '../weights/checkpoint.ts'
import { openGguf } from '../weights/gguf/index.ts'
import { dequantizedTensors } from '../weights/quantized/index.ts'
import { readJsonFile } from '../weights/read-json-file.ts'
import { plainTensor } from '../weights/plain-tensor.ts'
import { RowReader } from '../weights/row-reader.ts'
import type { TensorSource } from '../weights/weight-tensor.ts'
import type { ModelConfig } from './model-config.ts'
import { parseModelConfig } from './parse-model-config.ts'

/** A model's files, opened and understood; no weight has been read. Disposing it closes them. */
export interface OpenModel extends AsyncDisposable {
  readonly config: ModelConfig
  readonly source: TensorSource
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
  // The configuration first: what it asks for is the better message where the tensors are odd as well.
  const config = parseModelConfig(json)
  const checkpoint = await Checkpoint.open(model.path)
  try {
    return { config, source: tensorSource(checkpoint, quantizationOf(json)), [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose]() }
  } catch (error) {
    await checkpoint[Symbol.asyncDispose]()
    throw error
  }
}

async function opened (source: TensorSource, json: unknown): Promise<OpenModel> {
  try {
    return { config: parseModelConfig(json), source, [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() }
  } catch (error) {
    await source[Symbol.asyncDispose]()
    throw error
  }
}

function tensorSource (checkpoint: Checkpoint, quantization: unknown): TensorSource {
  const reader = new RowReader()
  const tensors = quantization === undefined
    ? new Map([...checkpoint.tensors].map(([name, tensor]) => [name, plainTensor(tensor, reader)]))
    : dequantizedTensors(quantization, checkpoint.tensors, checkpoint.directory)
  return { name: checkpoint.directory, tensors, [Symbol.asyncDispose]: () => checkpoint[Symbol.asyncDispose]() }
}

function quantizationOf (json: unknown): unknown {
  return typeof json === 'object' && json !== null && 'quantization_config' in json ? json.quantization_config ?? undefined : undefined
}
