import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { AdapterReport } from '../engine.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import { adapterFileName } from './known-adapter.ts'
import { parseProductTable } from './parse-product-table.ts'

/** What was measured on one adapter with one driver and these kernels, in a file of a folder; tables of several models add up. */
export class KeptProducts {
  readonly #file: string

  /**
   * @param folder where such files are kept
   * @param kernels their fingerprint
   */
  constructor (folder: string, { name, driver }: Pick<AdapterReport, 'name' | 'driver'>, kernels = kernelsFingerprint()) {
    const fingerprint = createHash('sha256').update(JSON.stringify([name, driver, kernels])).digest('hex').slice(0, 12)
    this.#file = path.join(folder, `products-${adapterFileName(name)}-${fingerprint}.json`)
  }

  /** Nothing where there is no file, or none that can be read: it is measured again. */
  async read (): Promise<ProductTable> {
    try {
      return parseProductTable(JSON.parse(await readFile(this.#file, 'utf8')))
    } catch {
      return {}
    }
  }

  /** Adds to what is kept. A folder that cannot be written to costs the next start its measuring, and nothing else. */
  async add (table: ProductTable): Promise<void> {
    const whole = { ...await this.read(), ...table }
    const draft = `${this.#file}.${process.pid}`
    try {
      await mkdir(path.dirname(this.#file), { recursive: true })
      await writeFile(draft, JSON.stringify(whole, null, 1) + '\n')
      await rename(draft, this.#file)
    } catch {}
  }
}
