import { numberOf, Namespace, Undefined, type Callable, type Value } from './values.ts'

/** jinja2's `loop` for one round. @param outer the `loop` around it, or anything else. */
export function loopOf (items: readonly Value[], index: number, outer: Value): Namespace {
  const depth0 = outer instanceof Namespace ? numberOf(outer.attributes.get('depth') ?? 0) ?? 0 : 0
  const cycle: Callable = ({ positional }) => positional[index % Math.max(positional.length, 1)] ?? new Undefined('cycle of nothing')
  return new Namespace([
    ['index', index + 1],
    ['index0', index],
    ['revindex', items.length - index],
    ['revindex0', items.length - index - 1],
    ['first', index === 0],
    ['last', index === items.length - 1],
    ['length', items.length],
    ['depth', depth0 + 1],
    ['depth0', depth0],
    ['previtem', items[index - 1] ?? new Undefined('previtem of the first')],
    ['nextitem', items[index + 1] ?? new Undefined('nextitem of the last')],
    ['cycle', cycle],
  ])
}
