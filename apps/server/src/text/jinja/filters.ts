import { bind } from './arguments.ts'
import { convertInPieces, type Budget } from './budget.ts'
import { jsonText } from './json.ts'
import { listFilters, type Filter } from './list-filters.ts'
import { formatPercent } from './operators.ts'
import * as python from './python-strings.ts'
import { integerOf, stringOf, textOf } from './python-text.ts'
import { capitalize, lowerCase, replaceText, upperCase } from './string-methods.ts'
import { TemplateFailure } from './template-failure.ts'
import { Float, isDict, isTrue, iterate, numberOf, sequenceItems, typeName, Undefined, type Arguments, type Value } from './values.ts'

/** @throws TemplateFailure for a name that no filter has. */
export function filterNamed (name: string): Filter {
  const filter = FILTERS.get(name)
  if (filter === undefined) throw new TemplateFailure(`there is no filter ${name}`)
  return filter
}

const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...listFilters(filterNamed),
  ['tojson', toJson],
  ['string', (value, _args, budget) => textOf(value, budget)],
  ['safe', (value, _args, budget) => textOf(value, budget)],
  ...aliases(['e', 'escape'], (value, _args, budget) => [['&', '&amp;'], ['<', '&lt;'], ['>', '&gt;'], ['"', '&#34;'], ['\'', '&#39;']]
    .reduce((text, [character = '', entity = '']) => replaceText(text, character, entity, -1, budget), textOf(value, budget))),
  ['upper', (value, _args, budget) => upperCase(textOf(value, budget), budget)],
  ['lower', (value, _args, budget) => lowerCase(textOf(value, budget), budget)],
  ['title', (value, _args, budget) => convertInPieces(textOf(value, budget), python.titleFilter, budget)],
  ['capitalize', (value, _args, budget) => capitalize(textOf(value, budget), budget)],
  ['trim', (value, args, budget) => {
    const [characters = null] = bind(args, ['chars'])
    return python.strip(textOf(value, budget), 'both', characters === null ? undefined : stringOf(characters, 'chars'))
  }],
  ['replace', (value, args, budget) => {
    const [old, replacement, count = null] = bind(args, ['old', 'new', 'count'])
    return replaceText(textOf(value, budget), stringOf(old, 'replace'), stringOf(replacement, 'replace'), count === null ? -1 : integerOf(count, 'count'), budget)
  }],
  ['indent', indent],
  ['wordcount', (value, _args, budget) => python.countMatches(textOf(value, budget), /[\p{L}\p{N}\p{M}_]+/gu)],
  ['format', (value, args, budget) => formatPercent(textOf(value, budget), args.positional, budget)],
  ...aliases(['length', 'count'], length),
  ...aliases(['default', 'd'], (value, args) => {
    const [fallback = '', boolean = false] = bind(args, ['default_value', 'boolean'])
    return value instanceof Undefined || (isTrue(boolean) && !isTrue(value)) ? fallback : value
  }),
  ['int', (value, args) => {
    const [fallback = 0] = bind(args, ['default', 'base'])
    if (typeof value === 'bigint') return value
    const number = typeof value === 'string' ? parseNumber(value) : numberOf(value)
    return number === undefined || !Number.isSafeInteger(Math.trunc(number)) ? fallback : Math.trunc(number) + 0
  }],
  ['float', (value, args) => {
    const [fallback = new Float(0)] = bind(args, ['default'])
    const number = typeof value === 'string' ? parseNumber(value) : numberOf(value)
    return number === undefined ? fallback : new Float(number)
  }],
  ['abs', value => {
    const number = numberOf(value)
    if (number === undefined) throw new TemplateFailure(`${typeName(value)} has no abs`)
    return value instanceof Float ? new Float(Math.abs(number)) : Math.abs(number)
  }],
  ['round', round],
])

/** transformers' own: characters of HTML stay what they are, and so does what is beyond ASCII. */
function toJson (value: Value, args: Arguments, budget: Budget): Value {
  const [ensureAscii = false, indent = null, separators = null, sortKeys = false] = bind(args, ['ensure_ascii', 'indent', 'separators', 'sort_keys'])
  const pair = separators === null ? [indent === null ? ', ' : ',', ': '] : sequenceItems(separators)
  if (pair?.length !== 2) throw new TemplateFailure('separators must be two strings')
  return jsonText(value, {
    ensureAscii: isTrue(ensureAscii),
    sortKeys: isTrue(sortKeys),
    indent: indent === null ? undefined : typeof indent === 'string' ? indent : budget.repeat(' ', integerOf(indent, 'indent')),
    separators: [stringOf(pair[0], 'a separator'), stringOf(pair[1], 'a separator')],
  }, budget)
}

function indent (value: Value, args: Arguments, budget: Budget): Value {
  const [width = 4, first = false, blank = false] = bind(args, ['width', 'first', 'blank'])
  const text = textOf(value, budget)
  const indention = typeof width === 'string' ? width : budget.repeat(' ', integerOf(width, 'width'))
  budget.items(python.countLines(text))
  const [head = '', ...rest] = python.splitLines(`${text}\n`)
  const lines = rest.map(line => line === '' && !isTrue(blank) ? [line] : [indention, line])
  return budget.join([isTrue(first) ? indention : '', head, ...lines.flatMap(line => ['\n', ...line])], '')
}

function length (value: Value, _args: Arguments, budget: Budget): Value {
  if (typeof value === 'string') return python.countCodePoints(value)
  return isDict(value) ? value.size : iterate(value, budget).length
}

function parseNumber (text: string): number | undefined {
  const digits = python.strip(text, 'both')
  return /^[+-]?(\d+(_\d+)*)?(\.\d*)?([eE][+-]?\d+)?$/.test(digits) && /\d/.test(digits) ? Number(digits.replaceAll('_', '')) : undefined
}

/** Python rounds halves to the even neighbour. */
function round (value: Value, args: Arguments): Value {
  const [precision = 0, method = 'common'] = bind(args, ['precision', 'method'])
  const number = numberOf(value)
  if (number === undefined) throw new TemplateFailure(`${typeName(value)} cannot be rounded`)
  const digits = integerOf(precision, 'precision')
  if (digits < 0 || digits > 20) throw new TemplateFailure('precision must be from 0 to 20')
  const scale = 10 ** digits
  if (method === 'ceil') return new Float(Math.ceil(number * scale) / scale)
  if (method === 'floor') return new Float(Math.floor(number * scale) / scale)
  const below = Math.floor(number)
  const rounded = digits === 0 && number - below === 0.5 ? (below % 2 === 0 ? below : below + 1) : Number(number.toFixed(digits))
  return value instanceof Float ? new Float(rounded) : rounded
}

function aliases (names: readonly string[], filter: Filter): Array<[string, Filter]> {
  return names.map(name => [name, filter])
}
