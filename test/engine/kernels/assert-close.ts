import type { Test } from 'tap'

/** Largest rounding error of an f32 operation, relative to its result. */
export const F32_ROUNDING = 2 ** -24
/** The same for storing as f16. Below 2⁻¹⁴ its spacing stays 2⁻²⁴. */
export const F16_ROUNDING = 2 ** -11
export const F16_SMALLEST = 2 ** -24

/** Every element within its tolerance, NaN never; the message names the worst one. */
export function assertClose (t: Test, actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: (index: number) => number, message: string): void {
  t.equal(actual.length, expected.length, `${message}: as many elements`)
  let worst = -1
  let worstShare = -1
  for (let i = 0; i < expected.length; i++) {
    const share = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)) / tolerance(i)
    if (!(share <= worstShare)) {
      worst = i
      worstShare = share
      if (Number.isNaN(share)) break
    }
  }
  t.ok(worstShare <= 1, `${message}: worst is element ${worst}, ${actual[worst]} for ${expected[worst]} ± ${tolerance(worst).toExponential(1)}`)
}

/** The same bits. */
export function assertSameBits (t: Test, actual: Uint32Array, expected: Uint32Array, message: string): void {
  const different = actual.findIndex((word, i) => word !== expected[i])
  t.ok(actual.length === expected.length && different === -1,
    different === -1 ? message : `${message}: word ${different} of ${expected.length} differs, ${actual[different]?.toString(16)} for ${expected[different]?.toString(16)}`)
}
