import { InvalidCheckpointError } from '../errors.ts'
import { decoderTensors } from '../models/decoder-tensors.ts'
import type { TensorSpec } from '../models/decoder-tensors.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { isRedundantTensor, listTensors } from '../models/tensor-list.ts'
import { rowSlice } from './tensor-views.ts'
import type { TensorSource, WeightTensor } from './weight-tensor.ts'

/**
 * Checks that a model's files hold a decoder of this configuration: every tensor present, in its shape, and none beside them that
 * would change the computation (a bias, another layer).
 * @throws InvalidCheckpointError naming the first that is not so
 */
export function checkTensors (source: Pick<TensorSource, 'name' | 'tensors'>, config: ModelConfig): void {
  const needed = listTensors(decoderTensors(config))
  for (const { name, shape } of needed) {
    const found = storedTensor(source, name).shape
    if (found.length !== shape.length || found.some((size, dimension) => size !== shape[dimension])) {
      throw new InvalidCheckpointError(source.name, `has shape [${found.join(', ')}]; the model's configuration asks for [${shape.join(', ')}]`, { tensor: name })
    }
  }
  const names = new Set(needed.map(({ name }) => name))
  for (const name of source.tensors.keys()) {
    if (!names.has(name) && !isRedundantTensor(name, config)) {
      throw new InvalidCheckpointError(source.name, 'is no part of the model that its configuration describes', { tensor: name })
    }
  }
}

/** The tensor, or the part of one, that a specification means. @throws InvalidCheckpointError when there is none of that name */
export function specifiedTensor (source: Pick<TensorSource, 'name' | 'tensors'>, { name, rows }: TensorSpec): WeightTensor {
  const stored = storedTensor(source, name)
  return rows === undefined ? stored : rowSlice(stored, name, rows.first, rows.count)
}

function storedTensor (source: Pick<TensorSource, 'name' | 'tensors'>, name: string): WeightTensor {
  const tensor = source.tensors.get(name)
  if (tensor === undefined) throw new InvalidCheckpointError(source.name, 'is missing', { tensor: name })
  return tensor
}
