import { ApiError } from '../errors.ts'

/**
 * Refuses values nested deeper than `maxDepth` arrays and objects, before anything recursive (schemas, templates) sees them.
 * Iterative, so that the check itself cannot overflow the stack.
 * @throws ApiError `invalid_value`.
 */
export function checkJsonDepth (value: unknown, maxDepth: number): void {
  let level: object[] = typeof value === 'object' && value !== null ? [value] : []
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > maxDepth) throw new ApiError('invalid_value', `The request nests deeper than ${maxDepth} levels.`)
    const next: object[] = []
    for (const parent of level) {
      for (const child of Array.isArray(parent) ? parent : Object.values(parent)) {
        if (typeof child === 'object' && child !== null) next.push(child)
      }
    }
    level = next
  }
}
