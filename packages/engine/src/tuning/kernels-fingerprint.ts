import { createHash } from 'node:crypto'
import { productVariant } from '../kernels/matmul/product-table.ts'
import type { ProductKernel } from '../kernels/matmul/product-table.ts'
import { rowRanges } from './product-candidates.ts'

const UNLIMITED = { maxWorkgroupBytes: Infinity, maxWorkgroupThreads: Infinity }
/** Lengths of sums that kernels are written for differently: short, long, and one that few numbers divide. */
const LENGTHS = [2048, 8192, 8224]

/** Says which kernels were measured, and with how many rows: another text of any candidate, or another candidate, makes another fingerprint. */
export function kernelsFingerprint (): string {
  const ranges = rowRanges(1, true)
  const kernels = new Map(ranges.flatMap(({ candidates }) => candidates).map(kernel => [kernel.join(), kernel]))
  const hash = createHash('sha256').update(JSON.stringify(ranges))
  for (const kernel of kernels.values()) for (const text of textsOf(kernel)) hash.update(text)
  return hash.digest('hex').slice(0, 12)
}

function textsOf (kernel: ProductKernel): string[] {
  // Staged ones are told K when they are compiled.
  const lengths = kernel[0] === 'vector' ? LENGTHS : LENGTHS.slice(1, 2)
  return lengths.flatMap(k => (['store', 'silu-gate'] as const).map(epilogue => productVariant({ upTo: 1, kernel }, k, epilogue, UNLIMITED)?.kernel.wgsl ?? ''))
}
