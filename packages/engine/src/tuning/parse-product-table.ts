import type { ProductChoice, ProductKernel, ProductTable } from '../kernels/matmul/product-table.ts'

/** Numbers that a kernel of this type has at least. Further ones have defaults, and `productVariant` refuses what it cannot make. */
const LEAST_NUMBERS: Readonly<Record<ProductKernel[0], number>> = { vector: 3, staged: 6, streamed: 6 }
/** And at most any. */
const MOST_NUMBERS = 12

/** A table from a file that somebody may have changed: what are no choices is left out, and then measured or ruled. */
export function parseProductTable (value: unknown): ProductTable {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).flatMap(([key, choices]) => isChoices(choices) ? [[key, choices]] : []))
}

function isChoices (value: unknown): value is readonly ProductChoice[] {
  return Array.isArray(value) && value.length > 0 && value.every((choice: unknown) =>
    typeof choice === 'object' && choice !== null && 'upTo' in choice && Number.isInteger(choice.upTo) && 'kernel' in choice && isKernel(choice.kernel))
}

function isKernel (value: unknown): value is ProductKernel {
  if (!Array.isArray(value)) return false
  const [type, ...numbers]: unknown[] = value
  const least = typeof type === 'string' && Object.hasOwn(LEAST_NUMBERS, type) ? LEAST_NUMBERS[type as ProductKernel[0]] : Infinity
  return numbers.length >= least && numbers.length <= MOST_NUMBERS &&
    numbers.every((number, i) => typeof number === 'number' && Number.isInteger(number) && number >= (i < least ? 1 : 0) && number <= 1024)
}
