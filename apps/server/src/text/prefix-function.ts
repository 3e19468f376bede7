/** A text, or any numbers that can be compared, by position. */
export interface Units {
  readonly length: number
  at (position: number): number
}

/** The UTF-16 units of a text. `backwards`: from its end. */
export function unitsOf (text: string, backwards = false): Units {
  const { length } = text
  return { length, at: backwards ? position => text.charCodeAt(length - 1 - position) : position => text.charCodeAt(position) }
}

/**
 * For each prefix, as long as its index and one more, the longest proper prefix that it also ends with.
 * @see Knuth, Morris and Pratt 1977
 */
export function prefixFunction (units: Units): Int32Array {
  const lengths = new Int32Array(units.length)
  for (let i = 1; i < units.length; i++) {
    let k = lengths[i - 1] ?? 0
    while (k > 0 && units.at(i) !== units.at(k)) k = lengths[k - 1] ?? 0
    lengths[i] = units.at(i) === units.at(k) ? k + 1 : k
  }
  return lengths
}
