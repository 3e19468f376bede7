import { InvalidArgumentError } from 'commander'

/** Parsers of flag values for commander; what they throw is shown with the flag's name. */

export function wholeNumber (min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return text => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(max === Number.MAX_SAFE_INTEGER ? `Give a whole number from ${min} on.` : `Give a whole number from ${min} to ${max}.`)
    }
    return value
  }
}

/** A finite number from `min` on and below `below`. */
export function numberFrom (min: number, below = Infinity): (text: string) => number {
  return text => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= min && value < below)) throw new InvalidArgumentError(`Give a number from ${min} on${below < Infinity ? `, below ${below}` : ''}.`)
    return value
  }
}

/** A finite number above 0. */
export function positiveNumber (text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value > 0 && value < Infinity)) throw new InvalidArgumentError('Give a number above 0.')
  return value
}

/** A number above 0, or `inf`. */
export function positiveOrInfinite (text: string): number {
  return text === 'inf' ? Infinity : positiveNumber(text)
}

export function wholeNumbers (min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => readonly number[] {
  return text => text.split(',').map(wholeNumber(min, max))
}

export function oneOf<T extends string> (known: readonly T[]): (text: string) => T {
  return text => {
    const found = known.find(candidate => candidate === text)
    if (found === undefined) throw new InvalidArgumentError(`Give one of ${known.join(', ')}.`)
    return found
  }
}

export function listOf<T extends string> (known: readonly T[]): (text: string) => readonly T[] {
  return text => text.split(',').map(oneOf(known))
}

/** A JSON object. */
export function jsonObject (text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.fromEntries(Object.entries(value))
  } catch {
    // Falls through to the one message for whatever is not an object.
  }
  throw new InvalidArgumentError('Give a JSON object.')
}

/** Collects repeated `KEY=VALUE`s. */
export function keyValue (text: string, collected: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Give KEY=VALUE.')
  return { ...collected, [text.slice(0, at)]: text.slice(at + 1) }
}
