import { createHash } from 'node:crypto'
import { beforeNormGrid, mmaBeforeNorm } from '../kernels/matmul/mma-before-norm.ts'
import { productVariant } from '../kernels/matmul/product-table.ts'
import type { ProductKernel } from '../kernels/matmul/product-table.ts'
import { rmsNorm, rmsNormSummed } from '../kernels/model-kernels.ts'
import { readShader } from '../kernels/shader-source.ts'
import { rowRanges } from './product-candidates.ts'

const UNLIMITED = { maxWorkgroupBytes: Infinity, maxWorkgroupThreads: Infinity }

/** Each form that the text of a candidate may have: K in whole turns, written out or in a loop, or not; K cut among subgroups or parts, or not; more lanes than there is to move or to store, or not. */
const FORMS: ReadonlyArray<readonly [kernel: ProductKernel, k: number]> = [
  [['vector', 2, 4, 2], 512], [['vector', 2, 4, 2], 8192], [['vector', 2, 4, 2], 1056],
  [['staged', 1, 1, 2, 1, 2, 32], 1024], [['staged', 2, 2, 1, 2, 2, 32], 1024], [['staged', 2, 2, 1, 2, 2, 32, 2], 1024],
  [['streamed', 1, 1, 2, 1, 2, 64], 1024], [['streamed', 1, 2, 1, 1, 2, 64], 1024], [['streamed', 1, 2, 2, 1, 2, 64, 2], 1024],
  [['staged', 1, 2, 16, 1, 2, 256], 1024], [['streamed', 1, 8, 2, 1, 2, 32], 1024]
]

/** Says which kernels were measured, and with how many rows: another text of any form, another candidate, or another norm behind parts, or none, makes another fingerprint. */
export function kernelsFingerprint (): string {
  const texts = FORMS.flatMap(([kernel, k]) => (['store', 'residual', 'silu-gate'] as const).map(epilogue => productVariant({ upTo: 1, kernel }, k, epilogue, UNLIMITED)?.kernel.wgsl))
  const beforeNorm = FORMS.map(([kernel]) => beforeNormGrid(kernel, UNLIMITED)).flatMap(grid => grid === undefined ? [] : [mmaBeforeNorm(grid).wgsl])
  return createHash('sha256').update(JSON.stringify([rowRanges(1, true), texts, beforeNorm, rmsNorm.wgsl, rmsNormSummed.wgsl, readShader('step_inputs')])).digest('hex').slice(0, 12)
}
