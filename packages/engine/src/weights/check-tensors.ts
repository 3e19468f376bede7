import { InvalidCheckpointError } from '../errors.ts'
import { isRedundantLlamaTensor, listLlamaTensors, llamaTensors } from '../models/llama-tensors.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { Checkpoint } from './checkpoint.ts'

/**
 * Checks that a checkpoint holds a Llama of this configuration: every tensor present, in its shape, and none beside them that
 * would change the computation (a bias, another layer).
 * @throws InvalidCheckpointError naming the first that is not so
 */
export function checkLlamaTensors (checkpoint: Pick<Checkpoint, 'directory' | 'tensors' | 'tensor'>, config: ModelConfig): void {
  const needed = listLlamaTensors(llamaTensors(config))
  for (const { name, shape } of needed) {
    const found = checkpoint.tensor(name).shape
    if (found.length !== shape.length || found.some((size, dimension) => size !== shape[dimension])) {
      throw new InvalidCheckpointError(checkpoint.directory, `has shape [${found.join(', ')}]; config.json asks for [${shape.join(', ')}]`, { tensor: name })
    }
  }
  const names = new Set(needed.map(({ name }) => name))
  for (const name of checkpoint.tensors.keys()) {
    if (!names.has(name) && !isRedundantLlamaTensor(name, config)) {
      throw new InvalidCheckpointError(checkpoint.directory, 'is no part of the model that config.json describes', { tensor: name })
    }
  }
}
