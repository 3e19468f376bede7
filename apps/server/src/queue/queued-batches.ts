import { answerLines } from '../batches/answer-lines.ts'
import type { BatchWork, SharedAnswering } from '../batches/batch-run.ts'
import { settledWithin } from '../cli/settled-within.ts'
import { answerOverQueue } from './answer-over-queue.ts'
import type { QueueAnsweringOptions } from './answer-over-queue.ts'
import { BatchMailbox } from './batch-mailbox.ts'

/** For telling Redis of a batch's end while somebody waits for it. */
const CLOSE_MS = 1_000

export interface QueuedBatchesOptions extends Omit<QueueAnsweringOptions, 'model'> {
  /** Of the model that runs here, its main one first. */
  readonly names: readonly string[]
}

/** This server's own batches, answered by all that take chunks of their model. */
export class QueuedBatches implements SharedAnswering {
  readonly #options: QueuedBatchesOptions
  /** Batches that have ended while Redis could not be told. */
  readonly #toClose = new Set<string>()

  constructor (options: QueuedBatchesOptions) {
    this.#options = options
    options.link.onReconnect(() => { for (const batchId of this.#toClose) this.#close(batchId).catch(() => {}) })
  }

  async answer (work: BatchWork, stop: AbortController): Promise<void> {
    const { names } = this.#options
    const model = work.model === null ? names[0] : names.find(name => name === work.model)
    // Requests for what does not run here are refused one by one, as without a queue: that anybody else has it cannot be known.
    if (model === undefined) await answerLines(work, stop)
    else await answerOverQueue(work, stop, { ...this.#options, model })
  }

  async end (batchId: string): Promise<void> {
    this.#toClose.add(batchId)
    await settledWithin(this.#close(batchId).catch(() => {}), CLOSE_MS)
  }

  /** Its workers see that it is closed, and drop what they have of it. */
  async #close (batchId: string): Promise<void> {
    await new BatchMailbox(this.#options.link, batchId).close()
    this.#toClose.delete(batchId)
  }
}
