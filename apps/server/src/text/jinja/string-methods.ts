import { bind } from './arguments.ts'
import { convertInPieces, type Budget } from './budget.ts'
import * as python from './python-strings.ts'
import { integerOf, stringOf, textOf } from './python-text.ts'
import { lastPositionOf, positionOf } from './search.ts'
import { TemplateFailure } from './template-failure.ts'
import { iterate, Tuple, type Arguments, type Callable, type Value } from './values.ts'

type Method = (text: string, args: Arguments, budget: Budget) => Value

/** A string's method, or undefined when there is none of that name. */
export function stringMethod (text: string, name: string, budget: Budget): Callable | undefined {
  const method = METHODS.get(name)
  return method === undefined ? undefined : args => method(text, args, budget)
}

/** `str.replace`, sized before it is made. @param count negative: all. @throws TemplateFailure when it would be too long. */
export function replaceText (text: string, old: string, replacement: string, count: number, budget: Budget): string {
  const occurrences = python.countOccurrences(text, old)
  const replaced = count < 0 ? occurrences : Math.min(count, occurrences)
  budget.characters(text.length + replaced * (replacement.length - old.length))
  if (old === '') {
    budget.items(text.length)
    const characters = Array.from(text)
    return [...characters.map((character, i) => i < replaced ? replacement + character : character), ...(replaced > characters.length ? [replacement] : [])].join('')
  }
  budget.items(replaced)
  return python.splitBy(text, old, replaced).join(replacement)
}

/** `str.upper`. @throws TemplateFailure when that is too long. */
export function upperCase (text: string, budget: Budget): string {
  return convertInPieces(text, piece => piece.toUpperCase(), budget)
}

/** `str.lower`. @throws TemplateFailure when that is too long. */
export function lowerCase (text: string, budget: Budget): string {
  return convertInPieces(text, piece => piece.toLowerCase(), budget)
}

/** `str.capitalize`. @throws TemplateFailure when that is too long. */
export function capitalize (text: string, budget: Budget): string {
  const first = python.unitPosition(text.slice(0, 2), 1)
  return budget.join([text.slice(0, first).toUpperCase(), lowerCase(text.slice(first), budget)], '')
}

const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['upper', (text, _args, budget) => upperCase(text, budget)],
  ['lower', (text, _args, budget) => lowerCase(text, budget)],
  ['casefold', (text, _args, budget) => lowerCase(text, budget)],
  ['title', (text, _args, budget) => convertInPieces(text, python.titleCase, budget)],
  ['capitalize', (text, _args, budget) => capitalize(text, budget)],
  ['strip', (text, args) => python.strip(text, 'both', optionalString(args, 'chars'))],
  ['lstrip', (text, args) => python.strip(text, 'left', optionalString(args, 'chars'))],
  ['rstrip', (text, args) => python.strip(text, 'right', optionalString(args, 'chars'))],
  ['startswith', (text, args) => prefixes(args).some(prefix => text.startsWith(prefix))],
  ['endswith', (text, args) => prefixes(args).some(suffix => text.endsWith(suffix))],
  ['removeprefix', (text, args) => {
    const [prefix] = strings(args, ['prefix'])
    return text.startsWith(prefix) ? text.slice(prefix.length) : text
  }],
  ['removesuffix', (text, args) => {
    const [suffix] = strings(args, ['suffix'])
    return suffix !== '' && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text
  }],
  ['split', (text, args, budget) => split(text, args, budget, python.splitBy)],
  ['rsplit', (text, args, budget) => split(text, args, budget, python.splitFromRight)],
  ['splitlines', (text, _args, budget) => {
    budget.items(python.countLines(text))
    return python.splitLines(text)
  }],
  ['partition', (text, args) => partition(text, args, 'left')],
  ['rpartition', (text, args) => partition(text, args, 'right')],
  ['replace', (text, args, budget) => {
    const [old, replacement, count = -1] = bind(args, ['old', 'new', 'count'])
    return replaceText(text, stringOf(old, 'replace'), stringOf(replacement, 'replace'), integerOf(count, 'count'), budget)
  }],
  ['join', (text, args, budget) => {
    const [items = []] = bind(args, ['iterable'])
    return budget.join(iterate(items, budget).map(part => stringOf(part, 'an item to join')), text)
  }],
  ['find', (text, args) => {
    const [part] = strings(args, ['sub'])
    return python.codePointPosition(text, positionOf(text, part))
  }],
  ['rfind', (text, args) => {
    const [part] = strings(args, ['sub'])
    return python.codePointPosition(text, lastPositionOf(text, part))
  }],
  ['index', (text, args) => {
    const [part] = strings(args, ['sub'])
    const position = positionOf(text, part)
    if (position < 0) throw new TemplateFailure('substring not found')
    return python.codePointPosition(text, position)
  }],
  ['count', (text, args) => {
    const [part] = strings(args, ['sub'])
    return python.countOccurrences(text, part)
  }],
  ['format', (text, args, budget) => formatBraces(text, args, budget)],
  ['zfill', (text, args, budget) => {
    const [width = 0] = bind(args, ['width'])
    const zeros = budget.repeat('0', integerOf(width, 'width') - python.countCodePoints(text))
    return /^[+-]/.test(text) ? text.slice(0, 1) + zeros + text.slice(1) : zeros + text
  }],
  ['ljust', (text, args, budget) => text + padding(text, args, budget)],
  ['rjust', (text, args, budget) => padding(text, args, budget) + text],
  ['isspace', text => python.isSpace(text)],
  ['isdigit', text => /^\p{Nd}+$/u.test(text)],
  ['isnumeric', text => /^\p{N}+$/u.test(text)],
  ['isdecimal', text => /^\p{Nd}+$/u.test(text)],
  ['isalpha', text => /^\p{L}+$/u.test(text)],
  ['isalnum', text => /^[\p{L}\p{N}]+$/u.test(text)],
  ['islower', text => text === text.toLowerCase() && text !== text.toUpperCase()],
  ['isupper', text => text === text.toUpperCase() && text !== text.toLowerCase()],
])

function optionalString (args: Arguments, name: string): string | undefined {
  const [value = null] = bind(args, [name])
  return value === null ? undefined : stringOf(value, name)
}

function strings (args: Arguments, names: readonly [string]): readonly [string] {
  const [value] = bind(args, names)
  return [stringOf(value, names[0])]
}

/** One string or a tuple of them. */
function prefixes (args: Arguments): readonly string[] {
  const [value] = bind(args, ['prefix'])
  return value instanceof Tuple ? value.items.map(part => stringOf(part, 'prefix')) : [stringOf(value, 'prefix')]
}

function split (text: string, args: Arguments, budget: Budget, by: (text: string, separator: string, maxSplit: number) => string[]): readonly Value[] {
  const [separator = null, maxSplit = -1] = bind(args, ['sep', 'maxsplit'])
  const most = integerOf(maxSplit, 'maxsplit')
  if (separator === null) {
    if (by !== python.splitBy && most >= 0) throw new TemplateFailure('rsplit needs a separator')
    budget.items(python.countWords(text))
    return python.splitWords(text, most)
  }
  const delimiter = stringOf(separator, 'sep')
  if (delimiter === '') throw new TemplateFailure('empty separator')
  budget.items(most < 0 ? python.countOccurrences(text, delimiter) + 1 : Math.min(most, text.length))
  return by(text, delimiter, most)
}

function partition (text: string, args: Arguments, side: 'left' | 'right'): Tuple {
  const [separator] = strings(args, ['sep'])
  const at = side === 'left' ? positionOf(text, separator) : lastPositionOf(text, separator)
  if (at < 0) return new Tuple(side === 'left' ? [text, '', ''] : ['', '', text])
  return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)])
}

function padding (text: string, args: Arguments, budget: Budget): string {
  const [width = 0, fill = ' '] = bind(args, ['width', 'fillchar'])
  return budget.repeat(stringOf(fill, 'fillchar'), integerOf(width, 'width') - python.countCodePoints(text))
}

/** `str.format` with fields that are a position or a name, without format specifications. */
function formatBraces (text: string, args: Arguments, budget: Budget): string {
  budget.items(text.length)
  let next = 0
  const pieces = text.split(/(\{\{|\}\}|\{\w*\})/).map((piece, i) => {
    if (i % 2 === 0) {
      if (/[{}]/.test(piece)) throw new TemplateFailure('this format is not supported')
      return piece
    }
    if (piece === '{{' || piece === '}}') return piece.slice(1)
    const field = piece.slice(1, -1)
    const value = field === '' ? args.positional[next++] : /^\d+$/.test(field) ? args.positional[Number(field)] : args.named.get(field)
    if (value === undefined) throw new TemplateFailure(`there is no value for ${piece}`)
    return textOf(value, budget)
  })
  return budget.join(pieces, '')
}
