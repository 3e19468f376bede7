import { bind } from './arguments.ts'
import type { Budget } from './budget.ts'
import { attribute, attributePath } from './members.ts'
import { applyOperator, compare, equal } from './operators.ts'
import { integerOf, stringOf, textOf } from './python-text.ts'
import { TemplateFailure } from './template-failure.ts'
import { testNamed } from './tests.ts'
import { isDict, isTrue, iterate, Tuple, typeName, Undefined, type Arguments, type Value } from './values.ts'

/** @throws TemplateFailure for values and arguments that it does not take, and for what would be too large. */
export type Filter = (value: Value, args: Arguments, budget: Budget) => Value

/** The filters that work on lists. @param filterNamed for `map('NAME')`. */
export function listFilters (filterNamed: (name: string) => Filter): ReadonlyArray<readonly [string, Filter]> {
  return [
    ['list', (value, _args, budget) => iterate(value, budget)],
    ['first', (value, _args, budget) => iterate(firstPart(value), budget)[0] ?? new Undefined('the first of nothing')],
    ['last', (value, _args, budget) => iterate(lastPart(value), budget).at(-1) ?? new Undefined('the last of nothing')],
    ['reverse', (value, _args, budget) => {
      const reversed = [...iterate(value, budget)].reverse()
      return typeof value === 'string' ? reversed.join('') : reversed
    }],
    ['join', join],
    ['sort', sort],
    ['unique', (value, args, budget) => {
      const [caseSensitive = false, path = null] = bind(args, ['case_sensitive', 'attribute'])
      const key = sortKey(path, isTrue(caseSensitive), budget)
      const seen: Value[] = []
      return iterate(value, budget).filter(item => {
        const itemKey = key(item)
        if (seen.some(other => equal(other, itemKey))) return false
        seen.push(itemKey)
        return true
      })
    }],
    ['min', (value, args, budget) => extreme(value, args, budget, -1)],
    ['max', (value, args, budget) => extreme(value, args, budget, 1)],
    ['sum', (value, args, budget) => {
      const [path = null, start = 0] = bind(args, ['attribute', 'start'])
      const summand = path === null ? (item: Value) => item : attributePath(path, budget)
      return iterate(value, budget).map(summand).reduce((sum, item) => applyOperator('+', sum, item, budget), start)
    }],
    ['batch', (value, args, budget) => {
      const [size = 0, fill = null] = bind(args, ['linecount', 'fill_with'])
      return batches(iterate(value, budget), integerOf(size, 'linecount'), fill, budget)
    }],
    ['map', (value, args, budget) => iterate(value, budget).map(mapping(args, filterNamed, budget))],
    ['select', (value, args, budget) => choose(value, args, budget, true)],
    ['reject', (value, args, budget) => choose(value, args, budget, false)],
    ['selectattr', (value, args, budget) => chooseByAttribute(value, args, budget, true)],
    ['rejectattr', (value, args, budget) => chooseByAttribute(value, args, budget, false)],
    ['groupby', groupBy],
    ['items', value => {
      if (value instanceof Undefined) return []
      if (!isDict(value)) throw new TemplateFailure(`${typeName(value)} has no items`)
      return [...value].map(entry => new Tuple(entry))
    }],
    ['dictsort', (value, args, budget) => {
      const [caseSensitive = false, by = 'key', reverse = false] = bind(args, ['case_sensitive', 'by', 'reverse'])
      if (!isDict(value)) throw new TemplateFailure(`${typeName(value)} cannot be sorted by key`)
      const key = sortKey(by === 'value' ? 1 : 0, isTrue(caseSensitive), budget)
      return sorted([...value].map(entry => new Tuple(entry)), key, isTrue(reverse))
    }],
    ['attr', (value, args, budget) => attribute(value, stringOf(bind(args, ['name'])[0], 'attr'), budget)],
  ]
}

/** As much of a text as has its first character, so that the rest need not become a list. */
function firstPart (value: Value): Value {
  return typeof value === 'string' ? value.slice(0, 2) : value
}

function lastPart (value: Value): Value {
  return typeof value === 'string' ? value.slice(-2) : value
}

function join (value: Value, args: Arguments, budget: Budget): Value {
  const [separator = '', path = null] = bind(args, ['d', 'attribute'])
  const part = path === null ? (item: Value) => item : attributePath(path, budget)
  return budget.join(iterate(value, budget).map(item => textOf(part(item), budget)), textOf(separator, budget))
}

function sort (value: Value, args: Arguments, budget: Budget): Value {
  const [reverse = false, caseSensitive = false, path = null] = bind(args, ['reverse', 'case_sensitive', 'attribute'])
  return sorted(iterate(value, budget), sortKey(path, isTrue(caseSensitive), budget), isTrue(reverse))
}

/** Stable, also in reverse. */
function sorted (items: readonly Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  const direction = reverse ? -1 : 1
  return items.map(item => ({ item, key: key(item) })).sort((a, b) => direction * compare(a.key, b.key)).map(({ item }) => item)
}

function sortKey (path: Value, caseSensitive: boolean, budget: Budget): (item: Value) => Value {
  const part = path === null ? (item: Value) => item : attributePath(path, budget)
  return item => {
    const value = part(item)
    return typeof value === 'string' && !caseSensitive ? value.toLowerCase() : value
  }
}

function extreme (value: Value, args: Arguments, budget: Budget, direction: 1 | -1): Value {
  const [caseSensitive = false, path = null] = bind(args, ['case_sensitive', 'attribute'])
  const key = sortKey(path, isTrue(caseSensitive), budget)
  const [first = new Undefined('an extreme of nothing'), ...others] = iterate(value, budget)
  return others.reduce((best, item) => direction * compare(key(item), key(best)) > 0 ? item : best, first)
}

function batches (items: readonly Value[], size: number, fill: Value, budget: Budget): Value[] {
  if (size < 1) throw new TemplateFailure('a batch needs a size')
  if (fill !== null) budget.items(items.length + size)
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => {
    const batch = items.slice(i * size, (i + 1) * size)
    return fill === null ? batch : [...batch, ...Array.from({ length: size - batch.length }, () => fill)]
  })
}

function mapping ({ positional, named }: Arguments, filterNamed: (name: string) => Filter, budget: Budget): (item: Value) => Value {
  const path = named.get('attribute')
  if (path !== undefined) {
    const part = attributePath(path, budget)
    const fallback = named.get('default')
    return item => {
      const value = part(item)
      return value instanceof Undefined && fallback !== undefined ? fallback : value
    }
  }
  const [name, ...rest] = positional
  const filter = filterNamed(stringOf(name, 'map'))
  return item => filter(item, { positional: rest, named }, budget)
}

function predicate (args: readonly Value[]): (value: Value) => boolean {
  const [name, argument = null] = args
  if (name === undefined) return isTrue
  const test = testNamed(stringOf(name, 'a test'))
  return value => test(value, argument)
}

function choose (value: Value, args: Arguments, budget: Budget, wanted: boolean): Value {
  const holds = predicate(args.positional)
  return iterate(value, budget).filter(item => holds(item) === wanted)
}

function chooseByAttribute (value: Value, args: Arguments, budget: Budget, wanted: boolean): Value {
  const [path, ...rest] = args.positional
  const part = attributePath(path ?? null, budget)
  const holds = predicate(rest)
  return iterate(value, budget).filter(item => holds(part(item)) === wanted)
}

function groupBy (value: Value, args: Arguments, budget: Budget): Value {
  const [path = null, , caseSensitive = false] = bind(args, ['attribute', 'default', 'case_sensitive'])
  const key = sortKey(path, isTrue(caseSensitive), budget)
  const groups: Array<{ readonly key: Value, readonly items: Value[] }> = []
  for (const item of sorted(iterate(value, budget), key, false)) {
    const itemKey = key(item)
    const last = groups.at(-1)
    if (last !== undefined && equal(last.key, itemKey)) last.items.push(item)
    else groups.push({ key: itemKey, items: [item] })
  }
  return groups.map(group => new Tuple([attributePath(path, budget)(group.items[0] ?? null), group.items]))
}
