import { compare, contains, equal } from './operators.ts'
import { integerOf } from './python-text.ts'
import { TemplateFailure } from './template-failure.ts'
import { Float, isDict, numberOf, sequenceItems, Undefined, type Value } from './values.ts'

/** What `is NAME` and `select('NAME', argument)` ask. */
export type Test = (value: Value, argument: Value) => boolean

const isInteger = (value: Value) => typeof value === 'number' || typeof value === 'bigint'
const isSequence = (value: Value) => sequenceItems(value) !== undefined || typeof value === 'string' || isDict(value) || value instanceof Undefined

const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['defined', value => !(value instanceof Undefined)],
  ['undefined', value => value instanceof Undefined],
  ['none', value => value === null],
  ['boolean', value => typeof value === 'boolean'],
  ['true', value => value === true],
  ['false', value => value === false],
  ['string', value => typeof value === 'string'],
  ['number', value => numberOf(value) !== undefined],
  ['integer', isInteger],
  ['float', value => value instanceof Float],
  ['mapping', value => isDict(value)],
  ['iterable', isSequence],
  ['sequence', isSequence],
  ['callable', value => typeof value === 'function'],
  ['odd', value => Math.abs(integerOf(value, 'an odd number') % 2) === 1],
  ['even', value => integerOf(value, 'an even number') % 2 === 0],
  ['divisibleby', (value, argument) => integerOf(value, 'a dividend') % integerOf(argument, 'a divisor') === 0],
  ['lower', value => typeof value === 'string' && value === value.toLowerCase() && value !== value.toUpperCase()],
  ['upper', value => typeof value === 'string' && value === value.toUpperCase() && value !== value.toLowerCase()],
  ['in', (value, argument) => contains(argument, value)],
  ['sameas', (value, argument) => value === argument],
  ...aliases(['==', 'eq', 'equalto'], equal),
  ...aliases(['!=', 'ne'], (value, argument) => !equal(value, argument)),
  ...aliases(['<', 'lt', 'lessthan'], (value, argument) => compare(value, argument) < 0),
  ...aliases(['<=', 'le'], (value, argument) => compare(value, argument) <= 0),
  ...aliases(['>', 'gt', 'greaterthan'], (value, argument) => compare(value, argument) > 0),
  ...aliases(['>=', 'ge'], (value, argument) => compare(value, argument) >= 0),
])

/** @throws TemplateFailure for a name that no test has. */
export function testNamed (name: string): Test {
  const test = TESTS.get(name)
  if (test === undefined) throw new TemplateFailure(`there is no test ${name}`)
  return test
}

function aliases (names: readonly string[], test: Test): Array<[string, Test]> {
  return names.map(name => [name, test])
}
