import { z } from 'zod'

/**
 * An array whose length is checked before its elements: zod alone would first collect an issue for each of a million bad ones.
 */
export function boundedArray<T extends z.ZodType> (element: T, limits: { readonly min?: number, readonly max: number }) {
  const length = z.array(z.unknown()).min(limits.min ?? 0).max(limits.max)
  return length.pipe(z.array(element).min(limits.min ?? 0).max(limits.max))
}
