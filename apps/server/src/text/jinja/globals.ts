import { bind } from './arguments.ts'
import { textOf, integerOf } from './python-text.ts'
import type { Budget } from './budget.ts'
import { strftime } from './strftime.ts'
import { TemplateFailure } from './template-failure.ts'
import { isDict, iterate, Namespace, sequenceItems, type Arguments, type Callable, type Value } from './values.ts'

/** jinja2's sandbox allows no longer ones. */
const MAX_RANGE = 100_000

/** What every template of transformers may call, and the names of its constants. */
export function globals (now: Date, budget: Budget): Array<readonly [string, Value]> {
  const functions: Array<readonly [string, Callable]> = [
    ['raise_exception', args => { throw new TemplateFailure(textOf(bind(args, ['message'])[0] ?? '', budget)) }],
    ['strftime_now', args => strftime(now, textOf(bind(args, ['format'])[0] ?? '', budget))],
    ['range', range],
    ['namespace', args => new Namespace(entries(args, budget).map(([key, value]) => [textOf(key, budget), value] as const))],
    ['dict', args => new Map(entries(args, budget).map(([key, value]) => [textOf(key, budget), value] as const))],
  ]
  return [['true', true], ['True', true], ['false', false], ['False', false], ['none', null], ['None', null], ...functions]
}

function range (args: Arguments): Value {
  const numbers = args.positional.map(value => integerOf(value, 'range'))
  const [start = 0, stop = 0, step = 1] = numbers.length === 1 ? [0, numbers[0]] : numbers
  if (numbers.length === 0 || numbers.length > 3 || step === 0) throw new TemplateFailure('range takes one to three numbers, and a step that is not zero')
  const length = Math.max(Math.ceil((stop - start) / step), 0)
  if (length > MAX_RANGE) throw new TemplateFailure(`range is too long: ${length} numbers, at most ${MAX_RANGE}`)
  return Array.from({ length }, (_, i) => start + i * step)
}

/** Of a mapping or pairs, and then of the named arguments. */
function entries (args: Arguments, budget: Budget): Array<readonly [Value, Value]> {
  const [source] = bind({ positional: args.positional, named: new Map() }, ['mapping'])
  const given = source === undefined ? [] : isDict(source) ? [...source] : iterate(source, budget).map(pairOf)
  return [...given, ...args.named]
}

function pairOf (value: Value): readonly [Value, Value] {
  const [key, item, ...rest] = sequenceItems(value) ?? []
  if (key === undefined || item === undefined || rest.length > 0) throw new TemplateFailure('pairs of a key and a value are needed')
  return [key, item]
}
