import { plainSum } from '../../../packages/engine/src/kernels/matmul/matmul-interface.ts'
import { isGated } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { Epilogue } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { SeededRandom } from '../../fakes/seeded-random.ts'
import { stored } from '../../reference/float16.ts'
import { geluGate, siluGate } from '../../reference/gated-mlp.ts'
import { matmul as reference } from '../../reference/matmul.ts'
import { F16_ROUNDING, F16_SMALLEST } from './assert-close.ts'

/** What happens to a sum before it is stored; a gate has a bias at most. */
export interface Finish { readonly BIAS: 0 | 1, readonly SCALE: number, readonly SOFTCAP: number }

export interface ProblemSize { readonly rows: number, readonly k: number, readonly n: number }

/** A product of f16 by f16 summed in f32, its float64 result, and how far from it a kernel may stray. */
export interface MatmulProblem extends ProblemSize {
  readonly epilogue: Epilogue
  readonly finish: Finish
  /** `[rows][k]` */
  readonly x: Float64Array
  /** `[n][k]`, or as many gate and then as many up rows */
  readonly weight: Float64Array
  readonly bias: Float64Array
  /** `[rows][n]`: what y holds before, for the residual epilogue. */
  readonly before: Float64Array
  /** `[rows][n]` */
  readonly expected: Float64Array
  readonly tolerance: (i: number) => number
}

interface Given {
  readonly epilogue: Epilogue
  readonly finish?: Finish
  /** What the kernel's x stands for; default: normals in f16. */
  readonly x?: Float64Array
  /** Roundings to 2⁻²² of the sum of magnitudes. */
  readonly roundings?: number
}

/**
 * Tensor cores add f16 products in f32 and may truncate: 2⁻²² of a partial sum, at most Σ|x·w| (and |y| where a sum begins as y), for
 * each sixteen of K; up to 32 partial sums and a few steps follow.
 */
export function matmulProblem (random: SeededRandom, size: ProblemSize, { epilogue, finish = plainSum, ...given }: Given): MatmulProblem {
  const { rows, k, n } = size
  const gated = isGated(epilogue)
  const { x = stored(random.normals(rows * k), 'f16'), roundings = k / 16 + 36 } = given
  const weight = stored(random.normals((gated ? 2 * n : n) * k, 1 / Math.sqrt(k)), 'f16')
  const bias = stored(random.normals(gated ? 2 * n : n), 'f32')
  const before = stored(random.normals(rows * n), 'f32')
  const problem = { ...size, epilogue, finish, x, weight, bias, before }
  const sum = (half: number): Float64Array => reference(x, weight.slice(half * n * k, (half + 1) * n * k), k, finish.BIAS === 1 ? { bias: bias.slice(half * n, (half + 1) * n) } : {})
  const absolute = x.map(Math.abs)
  const error = (half: number): Float64Array => reference(absolute, weight.slice(half * n * k, (half + 1) * n * k).map(Math.abs), k).map((magnitude, i) =>
    roundings * 2 ** -22 * (magnitude + Math.abs(finish.BIAS * (bias[half * n + i % n] ?? NaN))))
  const of = (values: Float64Array, i: number): number => Math.abs(values[i] ?? NaN)

  if (gated) {
    const [gate, up, gateError, upError] = [sum(0), sum(1), error(0), error(1)]
    const expected = epilogue === 'silu-gate' ? siluGate(gate, up) : geluGate(gate, up)
    // Neither activation rises by more than 1.13 or exceeds its argument; exp is good to 3 + 2|x| ulp, tanh to 10⁻⁵.
    const tolerance = (i: number): number => 1.13 * of(gateError, i) * of(up, i) + of(upError, i) * of(gate, i) +
      of(expected, i) * (F16_ROUNDING + (8 + 4 * of(gate, i)) * 2 ** -24) + (epilogue === 'gelu-gate' ? 1e-5 * of(gate, i) * of(up, i) : 0) + F16_SMALLEST
    return { ...problem, expected, tolerance }
  }
  const { SCALE, SOFTCAP } = finish
  const residual = epilogue === 'residual' ? before : new Float64Array(rows * n)
  const sumError = error(0)
  const expected = sum(0).map((value, i) => (SOFTCAP > 0 ? SOFTCAP * Math.tanh(value * SCALE / SOFTCAP) : value * SCALE) + (residual[i] ?? NaN))
  const tolerance = (i: number): number => SCALE * of(sumError, i) + roundings * 2 ** -22 * of(residual, i) + 2 ** -22 * of(expected, i) + 1e-5 * SOFTCAP + 1e-30
  return { ...problem, expected, tolerance }
}

/** A matrix kernel's overrides for the columns of `problem` that one buffer holds. */
export function matmulSettings ({ k, n, epilogue, finish }: Pick<MatmulProblem, 'k' | 'n' | 'epilogue' | 'finish'>, { logitRows, first, count }: { readonly logitRows: boolean, readonly first: number, readonly count: number }) {
  return { K: k, N: isGated(epilogue) ? 2 * count : count, FIRST_COLUMN: first, COLUMNS: n, LOGIT_ROWS: Number(logitRows), OWN_COLUMNS: count, ...finish }
}

/** The rows of `problem`'s weight for those columns, gate rows before up rows. */
export function weightPart ({ weight, k, n, epilogue }: MatmulProblem, first: number, count: number): Float64Array {
  const rows = (from: number): Float64Array => weight.slice(from * k, (from + count) * k)
  return isGated(epilogue) ? Float64Array.from([...rows(first), ...rows(n + first)]) : rows(first)
}
