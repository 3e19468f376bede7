import { InvalidCheckpointError } from '../../errors.ts'
import type { StoredDtype } from '../safetensors.ts'
import type { CheckpointTensor } from '../checkpoint.ts'

/** A size that a tensor must have, or `undefined` where any from 1 on will do. */
type Size = number | undefined

/** The tensors that share a module's name, for example `model.layers.0.mlp.up_proj` and its `qweight`, `qzeros` and `scales`. */
export class QuantizedModule {
  readonly name: string
  /** Names the checkpoint in errors. */
  readonly file: string
  readonly #raw: ReadonlyMap<string, CheckpointTensor>
  readonly #used: CheckpointTensor[] = []

  constructor (file: string, name: string, raw: ReadonlyMap<string, CheckpointTensor>) {
    this.file = file
    this.name = name
    this.#raw = raw
  }

  /** The tensors asked for so far: what the module's weight is made of. */
  get used (): readonly CheckpointTensor[] {
    return this.#used
  }

  has (suffix: string): boolean {
    return this.#raw.has(`${this.name}.${suffix}`)
  }

  /** @throws InvalidCheckpointError when it is missing, or of another dtype or shape */
  tensor (suffix: string, dtypes: readonly StoredDtype[], ...shapes: ReadonlyArray<readonly Size[]>): CheckpointTensor {
    const tensor = this.#raw.get(`${this.name}.${suffix}`)
    if (tensor === undefined) return this.refuse(suffix, 'is missing, though other parts of its quantised weight are there')
    if (!dtypes.includes(tensor.dtype)) this.refuse(suffix, `stores ${tensor.dtype}; this quantisation stores ${dtypes.join(' or ')}`)
    if (!shapes.some(shape => fits(tensor.shape, shape))) {
      this.refuse(suffix, `has shape [${tensor.shape.join(', ')}]; its quantised weight needs ${shapes.map(written).join(' or ')}`)
    }
    this.#used.push(tensor)
    return tensor
  }

  refuse (suffix: string, problem: string): never {
    throw new InvalidCheckpointError(this.file, problem, { tensor: `${this.name}.${suffix}` })
  }
}

function fits (found: readonly number[], wanted: readonly Size[]): boolean {
  return found.length === wanted.length && found.every((size, i) => wanted[i] === undefined ? size >= 1 : size === wanted[i])
}

function written (shape: readonly Size[]): string {
  return `[${shape.map(size => size ?? '≥ 1').join(', ')}]`
}
