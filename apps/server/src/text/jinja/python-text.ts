import { TextSink, writeInPieces, type Budget } from './budget.ts'
import { TemplateFailure } from './template-failure.ts'
import { Float, isDict, isList, Namespace, numberOf, Tuple, Undefined, type Dict, type Value } from './values.ts'

/** Python's `str`: how a value reads where a template prints it. @throws TemplateFailure when that is too long, or nothing. */
export function textOf (value: Value, budget: Budget): string {
  if (typeof value === 'string') return value
  if (value instanceof Undefined) return ''
  const sink = new TextSink(budget)
  writeRepr(value, sink)
  return sink.text
}

/** Python's `repr`. */
function writeRepr (value: Value, sink: TextSink): void {
  if (typeof value === 'string') writeQuoted(value, sink)
  else if (value === null) sink.write('None')
  else if (typeof value === 'boolean') sink.write(value ? 'True' : 'False')
  else if (value instanceof Float) sink.write(floatText(value.value))
  else if (typeof value === 'number' || typeof value === 'bigint') sink.write(integerText(value))
  else if (value instanceof Undefined) sink.write('Undefined')
  else if (value instanceof Tuple) writeItems('(', value.items, value.items.length === 1 ? ',)' : ')', sink)
  else if (isList(value)) writeItems('[', value, ']', sink)
  else if (isDict(value)) writeDict(value, sink)
  else throw new TemplateFailure(`${value instanceof Namespace ? 'a namespace' : 'a function'} has no text`)
}

function writeItems (open: string, items: readonly Value[], close: string, sink: TextSink): void {
  sink.write(open)
  for (const [i, item] of items.entries()) {
    if (i > 0) sink.write(', ')
    writeRepr(item, sink)
  }
  sink.write(close)
}

function writeDict (dict: Dict, sink: TextSink): void {
  let separator = '{'
  for (const [key, value] of dict) {
    sink.write(separator)
    writeRepr(key, sink)
    sink.write(': ')
    writeRepr(value, sink)
    separator = ', '
  }
  sink.write(dict.size === 0 ? '{}' : '}')
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** Single quotes, unless there are some in the text and no double ones; what does not print is escaped. */
function writeQuoted (text: string, sink: TextSink): void {
  const quote = text.includes('\'') && !text.includes('"') ? '"' : '\''
  sink.write(quote)
  writeInPieces(text, piece => piece.replace(/[\\'\n\r\t]|[\p{C}\p{Z}]/gu, character => {
    if (character === ' ') return character
    if (character === '\'') return quote === '\'' ? '\\\'' : character
    return ESCAPES[character] ?? codeEscape(character.codePointAt(0) ?? 0)
  }), sink)
  sink.write(quote)
}

function codeEscape (codePoint: number): string {
  const hex = codePoint.toString(16)
  return codePoint < 0x100 ? `\\x${hex.padStart(2, '0')}` : codePoint < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`
}

/** All digits, also of numbers that JavaScript would write with an exponent. */
export function integerText (value: number | bigint): string {
  return BigInt(value).toString()
}

/** The shortest text that reads back as the same float, with Python's choice of when to write an exponent. */
export function floatText (value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  const size = Math.abs(value)
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  if (Object.is(value, -0)) return '-0.0'
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

/** @throws TemplateFailure for what is no whole number. */
export function integerOf (value: Value, what: string): number {
  const number = numberOf(value)
  if (number === undefined || value instanceof Float || !Number.isSafeInteger(number)) throw new TemplateFailure(`${what} must be an integer`)
  return number
}

/** @throws TemplateFailure for what is no string. */
export function stringOf (value: Value | undefined, what: string): string {
  if (typeof value !== 'string') throw new TemplateFailure(`${what} must be a string`)
  return value
}
