import type { JsonFields } from '../json-fields.ts'
import type { ModelConfig } from '../model-config.ts'
import type { TensorNames } from '../tensor-names.ts'

/** One family of checkpoints: how its config.json is read and what its tensors are called. */
export interface ModelFamily {
  /** As config.json spells them. */
  readonly architectures: readonly string[]
  readonly names: TensorNames
  /**
   * What transformers' configuration class takes for fields that a file leaves out, where that is not what a Llama's class takes. A
   * field that is null is not left out: it says that there is none.
   */
  readonly defaults?: Readonly<Record<string, unknown>>
  /**
   * @throws InvalidModelConfigError for a value that no model could mean
   * @throws UnsupportedModelError naming the field that asks for what is not implemented
   */
  parse (architecture: string, fields: JsonFields): ModelConfig
}
