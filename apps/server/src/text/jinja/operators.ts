import type { Budget } from './budget.ts'
import { compareCodePoints } from './python-strings.ts'
import { textOf } from './python-text.ts'
import { positionOf } from './search.ts'
import { TemplateFailure } from './template-failure.ts'
import { Float, isDict, isList, numberOf, sequenceItems, Tuple, typeName, Undefined, type Value } from './values.ts'

/** Every operator but `and` and `or`, which do not always evaluate both sides. @throws TemplateFailure where Python would. */
export function applyOperator (operator: string, left: Value, right: Value, budget: Budget): Value {
  switch (operator) {
    case '==': return equal(left, right)
    case '!=': return !equal(left, right)
    case 'in': return contains(right, left)
    case 'not in': return !contains(right, left)
    case '~': return budget.join([textOf(left, budget), textOf(right, budget)], '')
    case '<': return compare(left, right) < 0
    case '>': return compare(left, right) > 0
    case '<=': return compare(left, right) <= 0
    case '>=': return compare(left, right) >= 0
    case '+': return add(left, right, budget)
    case '*': return multiply(left, right, budget)
    case '%': if (typeof left === 'string') return formatPercent(left, sequenceItems(right instanceof Tuple ? right : [right]) ?? [], budget)
  }
  return arithmetic(operator, left, right)
}

/** Python's `==`: numbers by value, containers by their items, everything else only with its own kind. */
export function equal (left: Value, right: Value): boolean {
  if (left === right) return true
  const [a, b] = [numberOf(left), numberOf(right)]
  if (a !== undefined && b !== undefined) return a === b
  if (left instanceof Undefined) return right instanceof Undefined
  if (left instanceof Tuple) return right instanceof Tuple && equalItems(left.items, right.items)
  if (isList(left)) return isList(right) && equalItems(left, right)
  if (!isDict(left) || !isDict(right)) return false
  return left.size === right.size && [...left].every(([key, item]) => {
    const other = right.get(key)
    return other !== undefined && equal(item, other)
  })
}

function equalItems (left: readonly Value[], right: readonly Value[]): boolean {
  return left.length === right.length && left.every((item, i) => {
    const other = right[i]
    return other !== undefined && equal(item, other)
  })
}

/** Python's order. @throws TemplateFailure for kinds that have none. */
export function compare (left: Value, right: Value): number {
  const [a, b] = [numberOf(left), numberOf(right)]
  if (a !== undefined && b !== undefined) return a - b
  if (typeof left === 'string' && typeof right === 'string') return compareCodePoints(left, right)
  const [leftItems, rightItems] = [sequenceItems(left), sequenceItems(right)]
  if (leftItems === undefined || rightItems === undefined || isList(left) !== isList(right)) {
    throw new TemplateFailure(`${typeName(left)} and ${typeName(right)} have no order`)
  }
  for (const [i, item] of leftItems.entries()) {
    const other = rightItems[i]
    if (other === undefined) return 1
    if (!equal(item, other)) return compare(item, other)
  }
  return leftItems.length - rightItems.length
}

/** Python's `in`. @throws TemplateFailure for what contains nothing. */
export function contains (container: Value, value: Value): boolean {
  if (typeof container === 'string') {
    if (typeof value === 'string') return positionOf(container, value) >= 0
    throw new TemplateFailure(`${typeName(value)} cannot be in a string`)
  }
  if (isDict(container)) return isKey(value) && container.has(value)
  if (container instanceof Undefined) return false
  const items = sequenceItems(container)
  if (items === undefined) throw new TemplateFailure(`nothing can be in ${typeName(container)}`)
  return items.some(item => equal(item, value))
}

/** Narrows to what a dict may be asked for. */
export function isKey (value: Value): value is string | number | boolean | null {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
}

function add (left: Value, right: Value, budget: Budget): Value {
  if (typeof left === 'string' && typeof right === 'string') return budget.join([left, right], '')
  const [a, b] = [sequenceItems(left), sequenceItems(right)]
  if (a !== undefined && b !== undefined && isList(left) === isList(right)) {
    budget.items(a.length + b.length)
    return isList(left) ? [...a, ...b] : new Tuple([...a, ...b])
  }
  return arithmetic('+', left, right)
}

function multiply (left: Value, right: Value, budget: Budget): Value {
  const [repeated, times] = typeof left === 'string' || isList(left) ? [left, right] : [right, left]
  if (typeof times === 'number' || typeof times === 'boolean') {
    if (typeof repeated === 'string') return budget.repeat(repeated, Number(times))
    if (isList(repeated)) {
      budget.items(repeated.length * Number(times))
      return Array.from({ length: Math.max(Number(times), 0) }, () => repeated).flat()
    }
  }
  return arithmetic('*', left, right)
}

function arithmetic (operator: string, left: Value, right: Value): Value {
  const [a, b] = [numberOf(left), numberOf(right)]
  if (a === undefined || b === undefined) throw new TemplateFailure(`${typeName(left)} ${operator} ${typeName(right)} is not possible`)
  if (b === 0 && ['/', '//', '%'].includes(operator)) throw new TemplateFailure('division by zero')
  const result = calculate(operator, a, b)
  const isFloat = left instanceof Float || right instanceof Float || operator === '/' || (operator === '**' && b < 0)
  if (isFloat ? !Number.isFinite(result) : !Number.isSafeInteger(result)) throw new TemplateFailure(`the result of ${operator} is too large`)
  return isFloat ? new Float(result) : result + 0
}

function calculate (operator: string, a: number, b: number): number {
  switch (operator) {
    case '+': return a + b
    case '-': return a - b
    case '*': return a * b
    case '/': return a / b
    case '//': return Math.floor(a / b)
    // The sign is the divisor's.
    case '%': return ((a % b) + b) % b
    case '**': return a ** b
    default: throw new TemplateFailure(`operator ${operator} is not supported`)
  }
}

/** Python's `%` on strings, with `%s`, `%d` and `%i`, without width or precision. @throws TemplateFailure for others. */
export function formatPercent (pattern: string, values: readonly Value[], budget: Budget): string {
  budget.items(pattern.length)
  let next = 0
  const pieces = pattern.split(/(%[a-zA-Z%])/).map((piece, i) => {
    if (i % 2 === 0) return piece
    if (piece === '%%') return '%'
    const value = values[next]
    next += 1
    if (value === undefined) throw new TemplateFailure('not enough values for a format')
    if (piece === '%s') return textOf(value, budget)
    const number = numberOf(value)
    if ((piece === '%d' || piece === '%i') && number !== undefined) return String(Math.trunc(number))
    throw new TemplateFailure(`format ${piece} of ${typeName(value)} is not supported`)
  })
  if (next < values.length) throw new TemplateFailure('too many values for a format')
  return budget.join(pieces, '')
}
