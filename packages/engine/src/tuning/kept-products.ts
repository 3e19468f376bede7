import type { AdapterReport } from '../engine.ts'
import type { ProductChoice } from '../kernels/matmul/product-table.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import { KeptTable } from './kept-table.ts'
import { parseProductTable } from './parse-product-table.ts'

/** Which products were fastest, by `productKey`. */
export class KeptProducts extends KeptTable<readonly ProductChoice[]> {
  /**
   * @param folder where such files are kept
   * @param kernels their fingerprint
   */
  constructor (folder: string, adapter: Pick<AdapterReport, 'name' | 'driver'>, kernels = kernelsFingerprint()) {
    super(folder, 'products', adapter, kernels, parseProductTable)
  }
}
