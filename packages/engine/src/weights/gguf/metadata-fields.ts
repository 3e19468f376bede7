import { InvalidCheckpointError } from '../../errors.ts'
import type { GgufValue } from './metadata-value.ts'

/** Checked reading of metadata; keys that begin with a dot are the architecture's own: `.block_count` is `llama.block_count`. */
export class MetadataFields {
  readonly file: string
  readonly architecture: string
  readonly #metadata: ReadonlyMap<string, GgufValue>

  /** @throws InvalidCheckpointError when the file does not name its architecture */
  constructor (file: string, metadata: ReadonlyMap<string, GgufValue>) {
    this.file = file
    this.#metadata = metadata
    this.architecture = this.text('general.architecture') ?? this.refuse('general.architecture', 'is missing')
  }

  has (key: string): boolean {
    return this.#metadata.has(this.#full(key))
  }

  /** @throws InvalidCheckpointError when it is missing, or none of `min` to 2^31 */
  integer (key: string, min: number): number {
    return this.optionalInteger(key, min) ?? this.refuse(key, 'is missing')
  }

  optionalInteger (key: string, min: number): number | undefined {
    const value = this.#uniform(key)
    if (value === undefined) return undefined
    if (!Number.isInteger(value) || value < min || value > 2 ** 31) this.refuse(key, `is ${value}; expected an integer of at least ${min}`)
    return value
  }

  optionalNumber (key: string): number | undefined {
    const value = this.#uniform(key)
    if (value === undefined) return undefined
    if (!Number.isFinite(value)) this.refuse(key, `is ${value}`)
    return value
  }

  number (key: string): number {
    return this.optionalNumber(key) ?? this.refuse(key, 'is missing')
  }

  boolean (key: string): boolean | undefined {
    const value = this.#metadata.get(this.#full(key))
    return value === undefined || typeof value === 'boolean' ? value : this.refuse(key, 'is not a boolean')
  }

  text (key: string): string | undefined {
    const value = this.#metadata.get(this.#full(key))
    return value === undefined || typeof value === 'string' ? value : this.refuse(key, 'is not text')
  }

  /** Numbers or booleans per layer, as numbers; undefined where the file has a single value, or none. */
  perLayer (key: string): readonly number[] | undefined {
    const value = this.#metadata.get(this.#full(key))
    return ArrayBuffer.isView(value) ? Array.from(value) : undefined
  }

  refuse (key: string, problem: string): never {
    throw new InvalidCheckpointError(this.file, `metadata ${JSON.stringify(this.#full(key))} ${problem}`)
  }

  /** A number, or a list per layer in which all are the same. */
  #uniform (key: string): number | undefined {
    const value = this.#metadata.get(this.#full(key))
    if (value === undefined || typeof value === 'number') return value
    const perLayer = this.perLayer(key)
    const first = perLayer?.[0]
    if (perLayer === undefined || first === undefined) return this.refuse(key, 'is not a number')
    return perLayer.every(number => number === first) ? first : this.refuse(key, 'differs between layers, which is not supported')
  }

  #full (key: string): string {
    return key.startsWith('.') ? this.architecture + key : key
  }
}
