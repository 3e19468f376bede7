import { newBatch, hasEnded } from './batch-object.ts'
import type { Batch, NewBatch } from './batch-object.ts'
import { BatchRun } from './batch-run.ts'
import type { BatchRunOptions } from './batch-run.ts'

export interface BatchProcessorOptions extends BatchRunOptions {
  /** Batches that are answered at the same time; the others wait. */
  readonly maxRunning: number
}

interface Running {
  readonly run: BatchRun
  readonly ended: Promise<void>
}

/** Brings batches to their end, some at a time, the oldest first. How they share the engine is the lines' affair. */
export class BatchProcessor {
  readonly #options: BatchProcessorOptions
  readonly #shutdown = new AbortController()
  readonly #running = new Map<string, Running>()

  constructor (options: BatchProcessorOptions) {
    this.#options = options
  }

  /** Goes on with what an earlier process left. */
  start (): void {
    const { batches, maxRunning } = this.#options
    while (this.#running.size < maxRunning && !this.#shutdown.signal.aborted) {
      const next = batches.list().find(batch => !hasEnded(batch) && !this.#running.has(batch.id))
      if (next === undefined) return
      const run = new BatchRun(next.id, this.#options, this.#shutdown.signal)
      this.#running.set(next.id, { run, ended: this.#toEnd(next.id, run) })
    }
  }

  /** @throws what the disk gives reason for (rejects), with no batch made */
  async create (request: NewBatch): Promise<Batch> {
    const batch = newBatch(request, this.#options.now())
    await this.#options.batches.save(batch)
    this.start()
    return batch
  }

  /** Stops a batch at the lines that are answered; one whose turn has not come ends at once. One that has ended stays as it is. */
  async cancel ({ id }: Batch): Promise<Batch> {
    const now = this.#options.now()
    const changed = await this.#options.batches.update(id, latest => {
      if (latest.status !== 'validating' && latest.status !== 'in_progress') return undefined
      if (latest.status === 'validating' && !this.#running.has(id)) return { ...latest, status: 'cancelled', cancelling_at: now, cancelled_at: now }
      return { ...latest, status: 'cancelling', cancelling_at: now }
    })
    if (changed.status === 'cancelling' || changed.status === 'cancelled') this.#running.get(id)?.run.stop.end('cancelled')
    return changed
  }

  /** Leaves everything as it is; unanswered lines stay so. Resolves when nothing is written any more. */
  async stop (): Promise<void> {
    this.#shutdown.abort(new Error('batches stop'))
    const running = [...this.#running.values()]
    for (const { run } of running) run.stop.end('shutdown')
    await Promise.all(running.map(async ({ ended }) => { await ended }))
  }

  async #toEnd (id: string, run: BatchRun): Promise<void> {
    await run.toEnd()
    this.#running.delete(id)
    this.start()
  }
}
