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

  /** @param path prefix of the field names in errors: `''`, or `'rope_scaling.'` for a nested object */
  static of (json: unknown, path: string): JsonFields {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new InvalidModelConfigError({ field: path === '' ? 'the whole file' : path.slice(0, -1), value: json, expected: 'an object' })
    }
    return new JsonFields(json, path)
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
