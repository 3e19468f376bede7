import { bind } from './arguments.ts'
import type { Budget } from './budget.ts'
import { equal, isKey } from './operators.ts'
import { stringOf } from './python-text.ts'
import { countCodePoints, unitPosition } from './python-strings.ts'
import { stringMethod } from './string-methods.ts'
import { TemplateFailure } from './template-failure.ts'
import { isDict, isList, iterate, Namespace, sequenceItems, Tuple, typeName, Undefined, type Callable, type Dict, type Value } from './values.ts'

/** `object.name`: jinja2 looks for a method first, then for an item. */
export function attribute (object: Value, name: string, budget: Budget): Value {
  return methodOf(object, name, budget) ?? itemOf(object, name) ?? missing(object, name)
}

/** `object[key]`: an item first, then a method. */
export function item (object: Value, key: Value, budget: Budget): Value {
  const found = itemOf(object, key)
  if (found !== undefined) return found
  return (typeof key === 'string' ? methodOf(object, key, budget) : undefined) ?? missing(object, typeof key === 'string' ? key : typeName(key))
}

function missing (object: Value, name: string): Undefined {
  if (object instanceof Undefined) throw new TemplateFailure(`${object.what} is undefined`)
  return new Undefined(`${name} of ${typeName(object)}`)
}

function itemOf (object: Value, key: Value): Value | undefined {
  if (isDict(object)) return isKey(key) ? object.get(key) : undefined
  if (object instanceof Namespace) return typeof key === 'string' ? object.attributes.get(key) : undefined
  if (typeof key !== 'number') return undefined
  return typeof object === 'string' ? characterAt(object, key) : sequenceItems(object)?.at(key)
}

function characterAt (text: string, position: number): string | undefined {
  const fromStart = position < 0 ? position + countCodePoints(text) : position
  const start = unitPosition(text, fromStart)
  const codePoint = fromStart < 0 ? undefined : text.codePointAt(start)
  return codePoint === undefined ? undefined : String.fromCodePoint(codePoint)
}

function methodOf (object: Value, name: string, budget: Budget): Callable | undefined {
  if (typeof object === 'string') return stringMethod(object, name, budget)
  if (isDict(object)) return dictMethod(object, name)
  return isList(object) || object instanceof Tuple ? listMethod(sequenceItems(object) ?? [], name) : undefined
}

/** Those that change nothing: transformers' environment is immutable too. */
function dictMethod (dict: Dict, name: string): Callable | undefined {
  switch (name) {
    case 'get': return args => {
      const [key = null, fallback = null] = bind(args, ['key', 'default'])
      return (isKey(key) ? dict.get(key) : undefined) ?? fallback
    }
    case 'items': return () => [...dict].map(entry => new Tuple(entry))
    case 'keys': return () => [...dict.keys()]
    case 'values': return () => [...dict.values()]
    case 'copy': return () => dict
    default: return undefined
  }
}

function listMethod (items: readonly Value[], name: string): Callable | undefined {
  switch (name) {
    case 'index': return args => {
      const [wanted = null] = bind(args, ['value'])
      const position = items.findIndex(candidate => equal(candidate, wanted))
      if (position < 0) throw new TemplateFailure('it is not in the list')
      return position
    }
    case 'count': return args => {
      const [wanted = null] = bind(args, ['value'])
      return items.filter(candidate => equal(candidate, wanted)).length
    }
    case 'copy': return () => items
    default: return undefined
  }
}

type Bounds = readonly [start: number | undefined, stop: number | undefined, step: number | undefined]

/** `object[start:stop:step]`. @throws TemplateFailure for what has no slices. */
export function slice (object: Value, bounds: Bounds, budget: Budget): Value {
  if (typeof object === 'string') return sliceText(object, bounds, budget)
  const items = sequenceItems(object)
  if (items === undefined) throw new TemplateFailure(`${typeName(object)} cannot be sliced`)
  const sliced = sliceItems(items, bounds)
  return object instanceof Tuple ? new Tuple(sliced) : sliced
}

function sliceText (text: string, bounds: Bounds, budget: Budget): string {
  const { first, end, step } = resolveBounds(bounds, countCodePoints(text))
  if (step === 1) return text.slice(unitPosition(text, first), unitPosition(text, Math.max(first, end)))
  return sliceItems(iterate(text, budget), bounds).join('')
}

function sliceItems (items: readonly Value[], bounds: Bounds): Value[] {
  const { first, end, step } = resolveBounds(bounds, items.length)
  if (step === 1) return items.slice(first, Math.max(first, end))
  const sliced: Value[] = []
  for (let i = first; step > 0 ? i < end : i > end; i += step) {
    const next = items[i]
    if (next !== undefined) sliced.push(next)
  }
  return sliced
}

function resolveBounds ([start, stop, step = 1]: Bounds, length: number): { readonly first: number, readonly end: number, readonly step: number } {
  if (step === 0) throw new TemplateFailure('a slice\'s step cannot be zero')
  const [lowest, highest] = step > 0 ? [0, length] : [-1, length - 1]
  const position = (bound: number | undefined, fallback: number) => bound === undefined ? fallback : Math.min(Math.max(bound < 0 ? bound + length : bound, lowest), highest)
  return { first: position(start, step > 0 ? lowest : highest), end: position(stop, step > 0 ? highest : lowest), step }
}

/** `a.b.0` as filters take it for `attribute`, or a number. */
export function attributePath (path: Value, budget: Budget): (value: Value) => Value {
  if (typeof path === 'number') return value => item(value, path, budget)
  const parts = stringOf(path, 'an attribute').split('.')
  return value => parts.reduce<Value>((object, part) => /^\d+$/.test(part) ? item(object, Number(part), budget) : item(object, part, budget), value)
}
