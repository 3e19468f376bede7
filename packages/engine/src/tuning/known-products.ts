import type { AdapterReport } from '../engine.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import { knownAdapterPath } from './known-adapter.ts'
import type { KnownAdapter } from './known-adapter.ts'
import { knownAdapters } from './known-adapters.ts'
import { parseProductTable } from './parse-product-table.ts'

/**
 * The repository's table for an adapter: of its name, and measured with the kernels that are here; else nothing.
 * @param fingerprint of the kernels that are here
 */
export function knownProducts ({ name }: Pick<AdapterReport, 'name'>, known: readonly KnownAdapter[] = knownAdapters, fingerprint = kernelsFingerprint()): ProductTable {
  return parseProductTable(known.find(({ adapter, kernels }) => adapter === name && kernels === fingerprint)?.products)
}

/** What to run where, for every table of the repository that was measured with other kernels, and is ignored. */
export function staleTables (known: readonly KnownAdapter[] = knownAdapters, fingerprint = kernelsFingerprint()): ReadonlyArray<{ readonly adapter: string, readonly message: string }> {
  return known.filter(({ kernels }) => kernels !== fingerprint).map(({ adapter, driver }) => ({
    adapter,
    message: `the table for ${adapter} (${driver}) is of other kernels and not used; on such a card run: daybreak bench kernels --save-known ${knownAdapterPath(adapter)}`
  }))
}
