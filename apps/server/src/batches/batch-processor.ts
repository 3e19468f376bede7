import type { FastifyBaseLogger } from 'fastify'
import { newFileId } from '../files/index.ts'
import type { FileStore } from '../files/index.ts'
import { answerLines } from './answer-lines.ts'
import { hasEnded, newBatch } from './batch-object.ts'
import type { Batch, BatchProblem, BatchStatus, NewBatch } from './batch-object.ts'
import { BatchResults } from './batch-results.ts'
import type { BatchStore } from './batch-store.ts'
import { checkInput } from './check-input.ts'
import type { BatchLine, InputLimits } from './check-input.ts'
import type { LineRunner } from './line-runner.ts'

export interface BatchProcessorOptions {
  readonly batches: BatchStore
  readonly files: FileStore
  readonly runner: LineRunner
  readonly limits: InputLimits & {
    /** Prompt tokens of a batch that are looked at together for what they share. */
    readonly maxTokensTogether: number
  }
  /** Unix seconds. */
  readonly now: () => number
  readonly logger: FastifyBaseLogger
}

/** Why a batch stops before its last line. */
type StopReason = 'cancelled' | 'expired' | 'shutdown'

/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Brings batches to their end, one after the other, oldest first: checks the input, answers its lines in the background, publishes the
 * results. Every change is on disk before it shows, so that after the end of the process, at any moment, `start` goes on where it was.
 */
export class BatchProcessor {
  readonly #options: BatchProcessorOptions
  #running: { readonly id: string, readonly stop: (reason: StopReason) => void } | undefined
  #loop: Promise<void> | undefined
  #stopped = false

  constructor (options: BatchProcessorOptions) {
    this.#options = options
  }

  /** Goes on with what an earlier process left. */
  start (): void {
    if (this.#loop !== undefined || this.#stopped) return
    this.#loop = this.#run().finally(() => { this.#loop = undefined })
  }

  /** @throws what the disk gives reason for (rejects), with no batch made */
  async create (request: NewBatch): Promise<Batch> {
    const batch = newBatch(request, this.#options.now())
    await this.#options.batches.save(batch)
    this.start()
    return batch
  }

  /** Stops a batch at the lines that are answered. One that has ended stays as it is. */
  async cancel (batch: Batch): Promise<Batch> {
    if (hasEnded(batch) || batch.status === 'cancelling' || batch.status === 'finalizing') return batch
    const cancelling = await this.#save(batch, 'cancelling')
    if (this.#running?.id === batch.id) this.#running.stop('cancelled')
    return cancelling
  }

  /** Leaves everything as it is; unanswered lines stay so. Resolves when nothing is written any more. */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#running?.stop('shutdown')
    await this.#loop
  }

  async #run (): Promise<void> {
    for (;;) {
      const next = this.#options.batches.list().find(batch => !hasEnded(batch))
      if (next === undefined || this.#stopped) return
      try {
        await this.#process(next)
      } catch (error) {
        if (this.#stopped) return
        this.#options.logger.error({ err: error, event: 'batch-failed', batch: next.id }, 'batch failed')
        await this.#fail(next.id, [{ code: 'internal_error', line: null, message: 'The server failed while it worked on this batch.', param: null }])
      }
    }
  }

  async #process (batch: Batch): Promise<void> {
    if (batch.status === 'finalizing') return await this.#publishAll(batch)
    const { files, limits, batches, logger } = this.#options
    const input = files.get(batch.input_file_id)
    if (input === undefined) return await this.#fail(batch.id, [{ code: 'file_not_found', line: null, message: 'The input file has been deleted.', param: 'input_file_id' }])
    const path = files.contentPath(input)
    const { lines, model, problems } = await checkInput(path, batch.endpoint, limits)
    if (problems.length > 0) return await this.#fail(batch.id, problems)
    await using results = await BatchResults.open({ output: batches.logPath(batch, 'output'), errors: batches.logPath(batch, 'errors') }, lines.length)
    const current = this.#latest(batch)
    if (current.status === 'validating') await this.#save({ ...current, model: model ?? null, ...results.tally }, 'in_progress')
    logger.info({ event: 'batch-started', batch: batch.id, lines: lines.length, answered: lines.filter(line => results.isAnswered(line)).length }, 'batch started')
    const reason = this.#latest(batch).status === 'in_progress' ? await this.#answer(batch, path, lines, results) : undefined
    if (reason === 'shutdown') return
    if (reason === 'expired') {
      for (const line of lines) if (!results.isAnswered(line)) await results.addUnanswered(line, { code: 'batch_expired', message: 'This request could not be executed before the completion window expired.' })
    }
    await results.sync()
    await this.#finalize(batch, results, reason)
  }

  /** @returns why it stopped before the last line; undefined when it did not */
  async #answer (batch: Batch, path: string, lines: readonly BatchLine[], results: BatchResults): Promise<StopReason | undefined> {
    const { batches, runner, limits, now } = this.#options
    const stop = new AbortController()
    let reason: StopReason | undefined
    const end = (because: StopReason): void => {
      reason ??= because
      stop.abort(new Error(`the batch is ${because}`))
    }
    this.#running = { id: batch.id, stop: end }
    // Asked for between the last look and this one.
    if (this.#stopped) end('shutdown')
    if (this.#latest(batch).status === 'cancelling') end('cancelled')
    const expiry = setTimeout(() => { end('expired') }, Math.min(MAX_TIMER_MS, Math.max(0, 1000 * ((batch.expires_at ?? Number.POSITIVE_INFINITY) - now()))))
    try {
      await answerLines({
        batchId: batch.id,
        endpoint: batch.endpoint,
        path,
        lines,
        results,
        runner,
        maxTokensTogether: limits.maxTokensTogether,
        onAnswer: () => { batches.show({ ...this.#latest(batch), ...results.tally }) }
      }, stop)
    } catch (error) {
      if (!stop.signal.aborted || reason === undefined) throw error
    } finally {
      clearTimeout(expiry)
      this.#running = undefined
    }
    return reason
  }

  /** The names of the result files are on disk before the files are, so that they are published once. */
  async #finalize (batch: Batch, results: BatchResults, reason: StopReason | undefined): Promise<void> {
    const finalizing = await this.#save({
      ...this.#latest(batch),
      ...results.tally,
      output_file_id: results.hasOutput ? newFileId() : null,
      error_file_id: results.hasErrors ? newFileId() : null,
      ...reason === 'expired' && { expired_at: this.#options.now() }
    }, 'finalizing')
    await this.#publishAll(finalizing)
  }

  async #publishAll (batch: Batch): Promise<void> {
    await this.#publish(batch, 'output', batch.output_file_id)
    await this.#publish(batch, 'errors', batch.error_file_id)
    await this.#options.batches.removeLogs(batch)
    const status: BatchStatus = batch.expired_at !== null ? 'expired' : batch.cancelling_at !== null ? 'cancelled' : 'completed'
    await this.#save(batch, status)
    this.#options.logger.info({ event: 'batch-ended', batch: batch.id, status, ...batch.request_counts }, 'batch ended')
  }

  async #publish (batch: Batch, log: 'output' | 'errors', id: string | null): Promise<void> {
    const { batches, files, now } = this.#options
    if (id === null || files.get(id) !== undefined) return
    const content = await files.include(batches.logPath(batch, log))
    const seconds = batch.output_expires_after?.seconds
    await files.publish(content, { id, filename: `${batch.id}_${log === 'output' ? 'output' : 'error'}.jsonl`, purpose: 'batch_output', expiresAt: seconds === undefined ? undefined : now() + seconds })
  }

  async #fail (id: string, problems: readonly BatchProblem[]): Promise<void> {
    const batch = this.#options.batches.get(id)
    if (batch === undefined) return
    // Cancelled before it was looked at: there is nothing that anybody wants to hear of.
    if (batch.cancelling_at !== null) await this.#save(batch, 'cancelled')
    else await this.#save({ ...batch, errors: { object: 'list', data: [...problems] } }, 'failed')
  }

  #latest ({ id }: Batch): Batch {
    const batch = this.#options.batches.get(id)
    if (batch === undefined) throw new Error(`there is no batch ${id}`)
    return batch
  }

  async #save (batch: Batch, status: BatchStatus): Promise<Batch> {
    const changed = { ...batch, status, [`${status}_at`]: this.#options.now() }
    await this.#options.batches.save(changed)
    return changed
  }
}
