import { prefixFunction, unitsOf } from './prefix-function.ts'

/** One stop string as an automaton: `state` is the length of its longest prefix that the text so far ends with. */
class StopString {
  readonly text: string
  readonly #fallback: Int32Array
  state = 0

  constructor (text: string) {
    this.text = text
    this.#fallback = prefixFunction(unitsOf(text))
  }

  advance (unit: number): void {
    let state = this.state
    while (state > 0 && this.text.charCodeAt(state) !== unit) state = this.#fallback[state - 1] ?? 0
    this.state = this.text.charCodeAt(state) === unit ? state + 1 : 0
  }
}

/**
 * Finds the first stop string in text that arrives in pieces, and withholds every suffix that may still become one.
 *
 * The match that ends first wins; of those ending together, the longest. So the result depends on the text alone, never on
 * how it was cut into pieces. Linear in the text, with one automaton per string.
 */
export class StopStringScanner {
  readonly #stops: readonly StopString[]
  #held = ''
  #matched: string | undefined

  /** @param stops non-empty, well-formed strings. */
  constructor (stops: readonly string[]) {
    this.#stops = stops.map(text => new StopString(text))
  }

  /** The stop string found, once one is. */
  get matched (): string | undefined { return this.#matched }

  /** Text that can be shown now; nothing more after a match. */
  push (piece: string): string {
    if (this.#matched !== undefined) return ''
    if (this.#stops.length === 0) return piece
    const text = this.#held + piece
    for (let i = this.#held.length; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      let found: StopString | undefined
      for (const stop of this.#stops) {
        stop.advance(unit)
        if (stop.state === stop.text.length && stop.text.length > (found?.text.length ?? 0)) found = stop
      }
      if (found !== undefined) {
        this.#matched = found.text
        this.#held = ''
        return text.slice(0, i + 1 - found.text.length)
      }
    }
    const numHeld = this.#stops.reduce((longest, stop) => Math.max(longest, stop.state), 0)
    this.#held = text.slice(text.length - numHeld)
    return text.slice(0, text.length - numHeld)
  }

  /** At the end of the text: what was withheld and turned out to be no stop string. */
  flush (): string {
    const held = this.#held
    this.#held = ''
    return held
  }
}
