import { TextSink, writeInPieces, type Budget } from './budget.ts'
import { compareCodePoints } from './python-strings.ts'
import { floatText, integerText } from './python-text.ts'
import { TemplateFailure } from './template-failure.ts'
import { Float, isDict, sequenceItems, typeName, type Key, type Value } from './values.ts'

/** How `json.dumps` writes. */
export interface JsonLayout {
  readonly ensureAscii: boolean
  readonly sortKeys: boolean
  /** What one level of nesting adds to a line; undefined: all in one line. */
  readonly indent: string | undefined
  readonly separators: readonly [item: string, key: string]
}

/** A JSON value as a template sees it. */
export function valueOf (json: unknown): Value {
  if (json === null || typeof json === 'string' || typeof json === 'boolean') return json
  if (typeof json === 'number') return Number.isInteger(json) && !Object.is(json, -0) ? json : new Float(json)
  if (Array.isArray(json)) return json.map(valueOf)
  if (typeof json === 'object') return new Map(Object.entries(json).filter(([, item]) => item !== undefined).map(([key, item]) => [key, valueOf(item)]))
  throw new TemplateFailure(`a template cannot use ${typeof json}`)
}

/**
 * JSON text as a template sees it, with numbers as they are written: 1.0 stays a float, and 12345678901234567890 stays exact. Text that
 * is not JSON is its own value.
 */
export function parseJson (text: string): Value {
  try {
    JSON.parse(text)
  } catch {
    return text
  }
  // Every string gets an `s` in front and every number becomes a string with an `n`.
  const marked = text.replace(/"((?:[^"\\]|\\.)*)"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token, inside: string | undefined) => inside === undefined ? `"n${token}"` : `"s${inside}"`)
  return unmarked(JSON.parse(marked))
}

function unmarked (json: unknown): Value {
  if (typeof json === 'string') return json.startsWith('s') ? json.slice(1) : numberValue(json.slice(1))
  if (Array.isArray(json)) return json.map(unmarked)
  if (typeof json === 'object' && json !== null) return new Map(Object.entries(json).map(([key, item]) => [key.slice(1), unmarked(item)]))
  return json === true || json === false ? json : null
}

function numberValue (digits: string): Value {
  if (/[.eE]/.test(digits)) return new Float(Number(digits))
  const number = Number(digits)
  return Number.isSafeInteger(number) ? number + 0 : BigInt(digits)
}

/** Python's `json.dumps`, as transformers' `tojson` filter calls it. @throws TemplateFailure for what JSON has no word for. */
export function jsonText (value: Value, layout: JsonLayout, budget: Budget): string {
  const sink = new TextSink(budget)
  writeJson(value, layout, '\n', sink)
  return sink.text
}

function writeJson (value: Value, layout: JsonLayout, lineStart: string, sink: TextSink): void {
  const items = sequenceItems(value)
  if (typeof value === 'string') writeString(value, layout.ensureAscii, sink)
  else if (value === null || typeof value === 'boolean') sink.write(String(value))
  else if (value instanceof Float) sink.write(jsonFloat(value.value))
  else if (typeof value === 'number' || typeof value === 'bigint') sink.write(integerText(value))
  else if (items !== undefined) writeContainer('[', items, ']', layout, lineStart, sink, (item, inner) => { writeJson(item, layout, inner, sink) })
  else if (isDict(value)) {
    const entries = [...value].map(([key, item]) => [jsonKey(key), item] as const)
    if (layout.sortKeys) entries.sort(([a], [b]) => compareCodePoints(a, b))
    writeContainer('{', entries, '}', layout, lineStart, sink, ([key, item], inner) => {
      writeString(key, layout.ensureAscii, sink)
      sink.write(layout.separators[1])
      writeJson(item, layout, inner, sink)
    })
  } else throw new TemplateFailure(`${typeName(value)} cannot be written as JSON`)
}

function writeContainer<T> (open: string, items: readonly T[], close: string, { indent, separators }: JsonLayout, lineStart: string, sink: TextSink, write: (item: T, lineStart: string) => void): void {
  if (items.length === 0) {
    sink.write(open + close)
    return
  }
  const inner = lineStart + (indent ?? '')
  sink.write(open)
  for (const [i, item] of items.entries()) {
    if (i > 0) sink.write(separators[0])
    if (indent !== undefined) sink.write(inner)
    write(item, inner)
  }
  if (indent !== undefined) sink.write(lineStart)
  sink.write(close)
}

/** Unlike JSON.stringify, Python leaves half a surrogate pair as it is. */
function writeString (text: string, ensureAscii: boolean, sink: TextSink): void {
  sink.write('"')
  writeInPieces(text, piece => {
    const escaped = piece.replace(/["\\\p{Cc}]+/gu, part => JSON.stringify(part).slice(1, -1))
    return ensureAscii ? escaped.replace(/[\u007f-\uffff]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) : escaped
  }, sink)
  sink.write('"')
}

function jsonFloat (value: number): string {
  return Number.isNaN(value) ? 'NaN' : Number.isFinite(value) ? floatText(value) : value > 0 ? 'Infinity' : '-Infinity'
}

function jsonKey (key: Key): string {
  return typeof key === 'number' ? integerText(key) : String(key)
}
