import { KVCacheInvariantError } from './errors.ts'

/**
 * Reads an element that must exist.
 * @throws KVCacheInvariantError outside the array's bounds, where a bare index would give `undefined`.
 */
export function elementAt<T> (values: ArrayLike<T>, index: number): T {
  const value = values[index]
  if (value === undefined) throw new KVCacheInvariantError('index outside its array', { index, length: values.length })
  return value
}
