import { InvalidModelConfigError } from '../errors.ts'

interface NumberBounds {
  readonly max: number
  /** Taken when the field is absent or null; without it the field is required. A default is checked as well. */
  readonly default?: number
}

/** Bounds-checked reading of the fields of one JSON object; `null` counts as absent, as Hugging Face writes it. */
export class JsonFields {
  readonly #object: object
  readonly #path: string

  private constructor (object: object, path: string) {
    this.#object = object
    this.#path = path
  }

  /**
   * @param path prefix of the field names in errors: `''`, or `'rope_scaling.'` for a nested object
   * @param defaults taken for fields that are absent; one that is null stays so
   */
  static of (json: unknown, path: string, defaults: object = {}): JsonFields {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new InvalidModelConfigError({ field: path === '' ? 'the whole file' : path.slice(0, -1), value: json, expected: 'an object' })
    }
    return new JsonFields({ ...defaults, ...json }, path)
  }

  get (field: string): unknown {
    // Own properties only: a field named like a method of Object must not find that method.
    return Object.getOwnPropertyDescriptor(this.#object, field)?.value ?? undefined
  }

  nested (field: string): JsonFields | undefined {
    const value = this.get(field)
    return value === undefined ? undefined : JsonFields.of(value, `${this.#path}${field}.`)
  }

  integer (field: string, bounds: NumberBounds & { readonly min: number }): number {
    const value = this.get(field) ?? bounds.default
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < bounds.min || value > bounds.max) {
      this.#refuse(field, value, `an integer from ${bounds.min} to ${bounds.max}`)
    }
    return value
  }

  number (field: string, bounds: NumberBounds & { readonly above: number }): number {
    const value = this.get(field) ?? bounds.default
    if (typeof value !== 'number' || !(value > bounds.above) || !(value <= bounds.max)) {
      this.#refuse(field, value, `a number above ${bounds.above}, at most ${bounds.max}`)
    }
    return value
  }

  /** A list of exactly `length` numbers. */
  numbers (field: string, bounds: { readonly length: number, readonly above: number, readonly max: number }): readonly number[] {
    const value = this.get(field)
    const isIn = (number: unknown): number is number => typeof number === 'number' && number > bounds.above && number <= bounds.max
    if (!Array.isArray(value) || value.length !== bounds.length || !value.every(isIn)) {
      this.#refuse(field, value, `a list of ${bounds.length} numbers above ${bounds.above}, at most ${bounds.max}`)
    }
    return Object.freeze(value)
  }

  /** A list of at most 4,096 integers; absent is an empty one. */
  integers (field: string, bounds: { readonly min: number, readonly max: number }): readonly number[] {
    const value = this.get(field) ?? []
    const isIn = (number: unknown): number is number => typeof number === 'number' && Number.isSafeInteger(number) && number >= bounds.min && number <= bounds.max
    if (!Array.isArray(value) || value.length > 4_096 || !value.every(isIn)) {
      this.#refuse(field, value, `a list of integers from ${bounds.min} to ${bounds.max}`)
    }
    return Object.freeze(value)
  }

  /** Absent is undefined. */
  optionalNumber (field: string, bounds: { readonly above: number, readonly max: number }): number | undefined {
    return this.get(field) === undefined ? undefined : this.number(field, bounds)
  }

  boolean (field: string, otherwise: boolean): boolean {
    const value = this.get(field) ?? otherwise
    if (typeof value !== 'boolean') this.#refuse(field, value, 'true or false')
    return value
  }

  /** One id or a list of at most 64, each below `vocabSize`. Absent is an empty list. */
  tokenIds (field: string, vocabSize: number): readonly number[] {
    const value = this.get(field) ?? []
    const ids: unknown[] = Array.isArray(value) ? value : [value]
    const isTokenId = (id: unknown): id is number => typeof id === 'number' && Number.isSafeInteger(id) && id >= 0 && id < vocabSize
    if (ids.length > 64 || !ids.every(isTokenId)) this.#refuse(field, value, `token ids below vocab_size (${vocabSize})`)
    return Object.freeze(ids.filter(isTokenId))
  }

  #refuse (field: string, value: unknown, expected: string): never {
    throw new InvalidModelConfigError({ field: `${this.#path}${field}`, value, expected })
  }
}
