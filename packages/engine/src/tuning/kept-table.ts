import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { AdapterReport } from '../engine.ts'
import { adapterFileName } from './known-adapter.ts'

/** What was measured on one adapter with one driver and some kernels, in a file of a folder; tables of several models add up. */
export class KeptTable<T> {
  readonly #file: string
  readonly #parse: (value: unknown) => Readonly<Record<string, T>>

  /**
   * @param folder where such files are kept
   * @param kind what the file's name begins with
   * @param kernels their fingerprint
   * @param parse leaves out what are no entries: somebody may have changed the file
   */
  constructor (folder: string, kind: string, { name, driver }: Pick<AdapterReport, 'name' | 'driver'>, kernels: string, parse: (value: unknown) => Readonly<Record<string, T>>) {
    const fingerprint = createHash('sha256').update(JSON.stringify([name, driver, kernels])).digest('hex').slice(0, 12)
    this.#file = path.join(folder, `${kind}-${adapterFileName(name)}-${fingerprint}.json`)
    this.#parse = parse
  }

  /** Nothing where there is no file, or none that can be read: it is measured again. */
  async read (): Promise<Readonly<Record<string, T>>> {
    try {
      return this.#parse(JSON.parse(await readFile(this.#file, 'utf8')))
    } catch {
      return {}
    }
  }

  /** Adds to what is kept. A folder that cannot be written to costs the next start its measuring, and nothing else. */
  async add (table: Readonly<Record<string, T>>): Promise<void> {
    const whole = { ...await this.read(), ...table }
    const draft = `${this.#file}.${process.pid}`
    try {
      await mkdir(path.dirname(this.#file), { recursive: true })
      await writeFile(draft, JSON.stringify(whole, null, 1) + '\n')
      await rename(draft, this.#file)
    } catch {}
  }
}
