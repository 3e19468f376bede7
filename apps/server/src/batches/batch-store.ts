import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '../files/index.ts'
import { batchSchema } from './batch-object.ts'
import type { Batch } from './batch-object.ts'

const RECORD = 'batch.json'

/**
 * Batches on disk, a folder each: the batch itself, written anew whenever it changes, and while it runs the logs of its results.
 * One process at a time may have a store open.
 */
export class BatchStore {
  readonly #folder: string
  readonly #batches: Map<string, Batch>
  #saving: Promise<void> = Promise.resolve()

  private constructor (folder: string, batches: Map<string, Batch>) {
    this.#folder = folder
    this.#batches = batches
  }

  static async open (folder: string): Promise<BatchStore> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const batches: Batch[] = []
    for (const name of await readdir(folder)) batches.push(...await readBatch(join(folder, name, RECORD)))
    batches.sort((a, b) => a.created_at - b.created_at)
    return new BatchStore(folder, new Map(batches.map(batch => [batch.id, batch])))
  }

  /** Oldest first. */
  list (): Batch[] {
    return [...this.#batches.values()]
  }

  get (id: string): Batch | undefined {
    return this.#batches.get(id)
  }

  /** Shows progress without writing it: the logs say it too. */
  show (batch: Batch): void {
    this.#batches.set(batch.id, batch)
  }

  /** Keeps a new batch, or one that has changed. Resolves when no end of this process, or of the machine, loses it any more. */
  async save (batch: Batch): Promise<void> {
    await this.#inTurn(async () => { await this.#write(batch) })
  }

  /**
   * Changes a batch from what it is when all earlier changes are done, so that two at a time lose nothing of each other.
   * @param change undefined: leave it as it is
   * @returns the batch as it is then
   */
  async update (id: string, change: (latest: Batch) => Batch | undefined): Promise<Batch> {
    return await this.#inTurn(async () => {
      const latest = this.#batches.get(id)
      if (latest === undefined) throw new Error(`there is no batch ${id}`)
      const changed = change(latest)
      if (changed === undefined) return latest
      await this.#write(changed)
      return changed
    })
  }

  /** Where a running batch's answers, and the lines that failed, are written. */
  logPath ({ id }: Batch, log: 'output' | 'errors'): string {
    return join(this.#folder, id, `${log}.jsonl`)
  }

  /** Where a batch that several machines answer keeps what each chunk of it is. */
  planPath ({ id }: Batch): string {
    return join(this.#folder, id, 'chunks.jsonl')
  }

  /** Which logs have something in them. */
  async whichLogs (batch: Batch): Promise<{ readonly output: boolean, readonly errors: boolean }> {
    const isFilled = async (log: 'output' | 'errors'): Promise<boolean> => await stat(this.logPath(batch, log)).then(status => status.isFile() && status.size > 0, () => false)
    return { output: await isFilled('output'), errors: await isFilled('errors') }
  }

  /** The batch has ended: what it was made with is not needed any more. */
  async removeLogs (batch: Batch): Promise<void> {
    for (const log of ['output', 'errors'] as const) await rm(this.logPath(batch, log), { force: true })
    await rm(this.planPath(batch), { force: true })
  }

  async #write (batch: Batch): Promise<void> {
    const folder = join(this.#folder, batch.id)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const unfinished = join(folder, `${RECORD}.new`)
    await writeFile(unfinished, JSON.stringify(batch), { mode: 0o600, flush: true })
    await rename(unfinished, join(folder, RECORD))
    const isNew = !this.#batches.has(batch.id)
    this.#batches.set(batch.id, batch)
    await syncFolder(folder)
    if (isNew) await syncFolder(this.#folder)
  }

  async #inTurn<Result> (work: () => Promise<Result>): Promise<Result> {
    const done = this.#saving.then(work)
    this.#saving = done.then(() => {}, () => {})
    return await done
  }
}

async function readBatch (path: string): Promise<Batch[]> {
  try {
    return [batchSchema.parse(JSON.parse(await readFile(path, 'utf8')))]
  } catch {
    return []
  }
}
