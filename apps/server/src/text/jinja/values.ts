/**
 * What a template computes with: Python's values, as far as chat templates know them.
 *
 * | Python | here |
 * | --- | --- |
 * | str, bool, None | string, boolean, null |
 * | int | number (an integer), bigint where a number would be inexact |
 * | float | `Float`, because 1.0 prints differently from 1 |
 * | list, tuple, dict | array, `Tuple`, Map |
 * | jinja2's Undefined | `Undefined` |
 */
import type { Budget } from './budget.ts'
import { TemplateFailure } from './template-failure.ts'

export type Value = string | boolean | null | number | bigint | Float | Undefined | readonly Value[] | Tuple | Dict | Namespace | Callable

/** What a dict may be asked for here. */
export type Key = string | number | boolean | null
export type Dict = ReadonlyMap<Key, Value>

/** Of a call or a filter. */
export interface Arguments {
  readonly positional: readonly Value[]
  readonly named: ReadonlyMap<string, Value>
}

/** A function, method or macro. @throws TemplateFailure for arguments that it does not take. */
export type Callable = (args: Arguments) => Value

/** A Python float. */
export class Float {
  readonly value: number

  constructor (value: number) {
    this.value = value
  }
}

/** A Python tuple: a list that is equal to tuples only, and prints in parentheses. */
export class Tuple {
  readonly items: readonly Value[]

  constructor (items: readonly Value[]) {
    this.items = items
  }
}

/** A thing with attributes: what `namespace()` makes (templates write to those), and `loop`. */
export class Namespace {
  readonly attributes: Map<string, Value>

  constructor (attributes: Iterable<readonly [string, Value]>) {
    this.attributes = new Map(attributes)
  }
}

/** The value of a name or member that is not there: empty text, an empty list, false; an error in every other use. */
export class Undefined {
  /** What is missing, for messages. */
  readonly what: string

  constructor (what: string) {
    this.what = what
  }
}

/** Narrows to a dict; a namespace is none. */
export function isDict (value: Value): value is Dict {
  return value instanceof Map
}

/** Narrows to a list; a tuple is none. */
export function isList (value: Value): value is readonly Value[] {
  return Array.isArray(value)
}

/** The items of a list or tuple. */
export function sequenceItems (value: Value): readonly Value[] | undefined {
  return isList(value) ? value : value instanceof Tuple ? value.items : undefined
}

/** bool, int or float as a number. */
export function numberOf (value: Value): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean' || typeof value === 'bigint') return Number(value)
  return value instanceof Float ? value.value : undefined
}

/** @throws TemplateFailure for what has no items, or a text with more of them than a list may have. */
export function iterate (value: Value, budget: Budget): readonly Value[] {
  const items = sequenceItems(value)
  if (items !== undefined) return items
  if (typeof value === 'string') {
    budget.items(value.length)
    return Array.from(value)
  }
  if (isDict(value)) return [...value.keys()]
  if (value instanceof Undefined) return []
  throw new TemplateFailure(`${typeName(value)} is not iterable`)
}

/** Python's `bool`: empty, zero, none and undefined are false. */
export function isTrue (value: Value): boolean {
  if (typeof value === 'string' || isList(value)) return value.length > 0
  if (value === null || value instanceof Undefined) return false
  if (value instanceof Tuple) return value.items.length > 0
  if (isDict(value)) return value.size > 0
  const number = numberOf(value)
  return number === undefined || number !== 0
}

/** What a message calls it. */
export function typeName (value: Value): string {
  if (value === null) return 'none'
  if (value instanceof Undefined) return value.what
  if (typeof value === 'string') return 'a string'
  if (typeof value === 'boolean') return 'a boolean'
  if (typeof value === 'function') return 'a function'
  if (isDict(value)) return 'a dict'
  if (value instanceof Namespace) return 'a namespace'
  if (value instanceof Tuple) return 'a tuple'
  return isList(value) ? 'a list' : 'a number'
}
