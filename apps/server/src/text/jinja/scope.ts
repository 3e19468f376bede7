import { Undefined, type Value } from './values.ts'

/** Names and their values; what is not here is looked for outside. Setting never reaches outside. */
export class Scope {
  readonly #names = new Map<string, Value>()
  readonly #outside: Scope | undefined

  constructor (outside: Scope | undefined, names: Iterable<readonly [string, Value]> = []) {
    this.#outside = outside
    for (const [name, value] of names) this.#names.set(name, value)
  }

  get (name: string): Value {
    let scope: Scope | undefined = this as Scope
    while (scope !== undefined) {
      const value = scope.#names.get(name)
      if (value !== undefined) return value
      scope = scope.#outside
    }
    return new Undefined(name)
  }

  set (name: string, value: Value): void {
    this.#names.set(name, value)
  }
}
