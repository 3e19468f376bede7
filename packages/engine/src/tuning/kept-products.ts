import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { AdapterReport } from '../engine.ts'
import { gemvTiled } from '../kernels/matmul/gemv-tiled.ts'
import { mmaStaged } from '../kernels/matmul/mma-staged.ts'
import type { ProductChoice, ProductKernel, ProductTable } from '../kernels/matmul/product-table.ts'
import { rowRanges } from './product-candidates.ts'

/** What was measured on one adapter with one driver and these kernels, in a file of a folder; tables of several models add up. */
export class KeptProducts {
  readonly #file: string

  /** @param folder where such files are kept */
  constructor (folder: string, adapter: Pick<AdapterReport, 'name' | 'driver'>) {
    const name = adapter.name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
    this.#file = path.join(folder, `products-${name}-${fingerprint(adapter)}.json`)
  }

  /** Nothing where there is no file, or none that can be read: it is measured again. */
  async read (): Promise<ProductTable> {
    try {
      return parseTable(JSON.parse(await readFile(this.#file, 'utf8')))
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

/** Another driver, kernel or candidate makes another file. */
function fingerprint ({ name, driver }: Pick<AdapterReport, 'name' | 'driver'>): string {
  const shape = { rowGroups: 1, columnGroups: 1, depthGroups: 2, rowTiles: 1, columnTiles: 2, depth: 32, subgroup: 32, epilogue: 'silu-gate' } as const
  const kernels = [mmaStaged(shape).wgsl, mmaStaged({ ...shape, depthGroups: 1, epilogue: 'store', parts: 2 }).wgsl, gemvTiled({ rows: 1, splits: 2, ahead: 2, k: 256, subgroup: 32, epilogue: 'store' }).wgsl]
  return createHash('sha256').update(JSON.stringify([name, driver, kernels, rowRanges(1, true)])).digest('hex').slice(0, 12)
}

function parseTable (value: unknown): ProductTable {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).flatMap(([key, choices]) => isChoices(choices) ? [[key, choices]] : []))
}

function isChoices (value: unknown): value is readonly ProductChoice[] {
  return Array.isArray(value) && value.length > 0 && value.every((choice: unknown) =>
    typeof choice === 'object' && choice !== null && 'upTo' in choice && Number.isInteger(choice.upTo) && 'kernel' in choice && isKernel(choice.kernel))
}

function isKernel (value: unknown): value is ProductKernel {
  if (!Array.isArray(value)) return false
  const [type, ...numbers]: unknown[] = value
  const counts = type === 'vector' ? [3] : type === 'staged' ? [6, 7] : []
  return counts.includes(numbers.length) && numbers.every(number => typeof number === 'number' && Number.isInteger(number) && number > 0 && number <= 1024)
}
