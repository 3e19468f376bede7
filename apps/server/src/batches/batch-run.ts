import type { FastifyBaseLogger } from 'fastify'
import { isStorageFull, newFileId } from '../files/index.ts'
import type { FileStore } from '../files/index.ts'
import { answerLines } from './answer-lines.ts'
import type { LinesToAnswer } from './answer-lines.ts'
import { hasEnded } from './batch-object.ts'
import type { Batch, BatchProblem, BatchStatus } from './batch-object.ts'
import { BatchResults } from './batch-results.ts'
import { BatchStop } from './batch-stop.ts'
import type { BatchStore } from './batch-store.ts'
import { checkInput } from './check-input.ts'
import type { BatchLine, InputLimits } from './check-input.ts'
import type { LineRunner } from './line-runner.ts'

/** Lines for whoever answers them, here or on other machines. */
export interface BatchWork extends LinesToAnswer {
  /** That the requests name; null: none does. */
  readonly model: string | null
  /** Unix seconds. */
  readonly expiresAt: number | null
  /** A file that the batch has until it ends. */
  readonly planPath: string
}

/** Has a batch's lines answered by several servers. */
export interface SharedAnswering {
  /** As `answerLines` does; after the end of the process, with what has been done in between. */
  answer (work: BatchWork, stop: AbortController): Promise<void>
  /** Nobody works for this batch any more. Never rejects. */
  end (batchId: string): Promise<void>
}

export interface BatchRunOptions {
  readonly batches: BatchStore
  readonly files: FileStore
  readonly runner: LineRunner
  /** Undefined: this server alone answers. */
  readonly shared?: SharedAnswering | undefined
  readonly limits: InputLimits & {
    /** Prompt tokens of a batch that are looked at together for what they share. */
    readonly maxTokensTogether: number
  }
  /** Unix seconds. */
  readonly now: () => number
  /** Resolves after `ms`, rejects when the signal aborts before. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  readonly logger: FastifyBaseLogger
}

const INPUT_GONE = { code: 'file_not_found', message: 'The input file has been deleted.', param: 'input_file_id' } as const

/** Between two attempts at a batch that the disk had no room for. */
const FULL_DISK_MS = 10_000

/**
 * Brings one batch to its end: checks the input, has its lines answered, publishes the results. Every change is on disk before it shows,
 * so that after the end of the process, at any moment, another run goes on where this one was.
 */
export class BatchRun {
  /** Whoever ends it ends the run, at what is answered. */
  readonly stop = new BatchStop()
  readonly #id: string
  readonly #options: BatchRunOptions
  readonly #shutdown: AbortSignal

  /** @param shutdown aborts when nothing more is to be tried; the run itself is ended by `stop` */
  constructor (id: string, options: BatchRunOptions, shutdown: AbortSignal) {
    this.#id = id
    this.#options = options
    this.#shutdown = shutdown
  }

  /** Never rejects. A batch that has not ended by then is to be run again. */
  async toEnd (): Promise<void> {
    try {
      await this.#process(this.#latest)
    } catch (error) {
      if (!this.#shutdown.aborted) await this.#recover(error)
    }
  }

  async #process (batch: Batch): Promise<void> {
    const { stop } = this
    if (batch.status === 'finalizing') return await this.#publishAll(batch)
    const { files, limits, batches, logger, now } = this.#options
    const input = files.get(batch.input_file_id)
    if (input === undefined) return await this.#fail(INPUT_GONE)
    const path = files.contentPath(input)
    const checked = await checkInput(path, batch.endpoint, limits, stop.signal).catch((error: unknown) => {
      if (!stop.isReason(error)) throw error
    })
    if (stop.endedBy('shutdown') || hasEnded(this.#latest)) return
    if (checked !== undefined && checked.problems.length > 0) return await this.#fail(...checked.problems)
    const lines = checked?.lines ?? []
    await using results = await BatchResults.open({ output: batches.logPath(batch, 'output'), errors: batches.logPath(batch, 'errors') }, checked === undefined ? batch.request_counts.total : lines.length)
    const current = await batches.update(batch.id, latest => latest.status === 'validating'
      ? { ...latest, model: checked?.model ?? null, ...results.tally, status: 'in_progress', in_progress_at: now() }
      : undefined)
    if (current.status === 'in_progress') {
      logger.info({ event: 'batch-started', batch: batch.id, lines: lines.length, answered: lines.filter(line => results.isAnswered(line)).length }, 'batch started')
      await this.#answer(current, path, lines, results)
    }
    if (stop.endedBy('shutdown')) return
    await this.#options.shared?.end(batch.id)
    if (stop.endedBy('expired')) {
      for (const line of lines) if (!results.isAnswered(line)) await results.addUnanswered(line, { code: 'batch_expired', message: 'This request could not be executed before the completion window expired.' })
    }
    await results.sync()
    await this.#finalize(results)
  }

  /** Returns when every line is answered, or at the stop. */
  async #answer (batch: Batch, path: string, lines: readonly BatchLine[], results: BatchResults): Promise<void> {
    const { stop } = this
    const { batches, runner, shared, limits, now } = this.#options
    using _expiry = stop.endAt(batch.expires_at, now)
    const work: BatchWork = {
      batchId: batch.id,
      endpoint: batch.endpoint,
      model: batch.model,
      expiresAt: batch.expires_at,
      path,
      planPath: batches.planPath(batch),
      lines,
      results,
      runner,
      maxTokensTogether: limits.maxTokensTogether,
      onAnswer: () => { batches.show({ ...this.#latest, ...results.tally }) }
    }
    try {
      await (shared === undefined ? answerLines(work, stop.controller) : shared.answer(work, stop.controller))
    } catch (error) {
      if (!stop.isReason(error)) throw error
    }
  }

  /** The names of the result files are on disk before the files are, so that they are published once. */
  async #finalize (results: BatchResults): Promise<void> {
    const { batches, now } = this.#options
    const finalizing = await batches.update(this.#id, latest => hasEnded(latest)
      ? undefined
      : {
          ...latest,
          ...results.tally,
          output_file_id: results.hasOutput ? newFileId() : null,
          error_file_id: results.hasErrors ? newFileId() : null,
          ...this.stop.endedBy('expired') && { expired_at: now() },
          status: 'finalizing',
          finalizing_at: now()
        })
    if (!hasEnded(finalizing)) await this.#publishAll(finalizing)
  }

  async #publishAll (batch: Batch): Promise<void> {
    const { batches, logger, now } = this.#options
    await this.#publish(batch, 'output', batch.output_file_id)
    await this.#publish(batch, 'errors', batch.error_file_id)
    await batches.removeLogs(batch)
    const status: BatchStatus = batch.failed_at !== null ? 'failed' : batch.expired_at !== null ? 'expired' : batch.cancelling_at !== null ? 'cancelled' : 'completed'
    await batches.update(batch.id, latest => ({ ...latest, status, [`${status}_at`]: now() }))
    logger.info({ event: 'batch-ended', batch: batch.id, status, ...batch.request_counts }, 'batch ended')
  }

  async #publish (batch: Batch, log: 'output' | 'errors', id: string | null): Promise<void> {
    const { batches, files } = this.#options
    if (id === null || files.get(id) !== undefined) return
    const content = await files.include(batches.logPath(batch, log))
    await files.publish(content, { id, filename: `${batch.id}_${log === 'output' ? 'output' : 'error'}.jsonl`, purpose: 'batch_output', expiresAfter: batch.output_expires_after?.seconds })
  }

  /** After a fault that is not the batch's. One for which the disk has no room now is tried again, and goes on where it was. */
  async #recover (error: unknown): Promise<void> {
    const { batches, files, logger, now, sleep } = this.#options
    // Deleted after it was checked, and before it was opened again: that is no fault of the server's.
    const isInputGone = isNoFile(error) && files.get(this.#latest.input_file_id) === undefined
    if (!isInputGone) logger.error({ err: error, event: 'batch-failed', batch: this.#id }, 'batch failed')
    try {
      if (isStorageFull(error)) return await sleep(FULL_DISK_MS, this.#shutdown)
      await this.#fail(isInputGone ? INPUT_GONE : { code: 'internal_error', message: 'The server failed while it worked on this batch.', param: null })
    } catch (cause) {
      if (this.#shutdown.aborted) return
      logger.error({ err: cause, event: 'batch-not-saved', batch: this.#id }, 'what has become of a batch cannot be saved: the next start tries again')
      // It must not hold up those behind it.
      batches.show({ ...this.#latest, status: 'failed', failed_at: now() })
    }
  }

  /** Ends a batch that cannot go on. What is answered is published all the same. */
  async #fail (...problems: ReadonlyArray<Omit<BatchProblem, 'line'> & { readonly line?: number | null }>): Promise<void> {
    const { batches, shared, now } = this.#options
    await shared?.end(this.#id)
    const before = this.#latest
    // What failed in its very end has nothing more to publish from.
    const logs = before.status === 'finalizing' ? { output: false, errors: false } : await batches.whichLogs(before)
    const hasAny = logs.output || logs.errors
    const changed = await batches.update(this.#id, latest => {
      if (hasEnded(latest)) return undefined
      // Cancelled before it was looked at: there is nothing that anybody wants to hear of.
      const isCancelled = latest.cancelling_at !== null
      const end = isCancelled
        ? { status: 'cancelled', cancelled_at: now() } as const
        : { status: 'failed', failed_at: now(), errors: { object: 'list' as const, data: problems.map(problem => ({ line: null, ...problem })) } } as const
      return {
        ...latest,
        ...end,
        ...hasAny && { status: 'finalizing', finalizing_at: now(), output_file_id: logs.output ? newFileId() : null, error_file_id: logs.errors ? newFileId() : null }
      }
    })
    if (hasAny && !hasEnded(changed)) await this.#publishAll(changed)
  }

  get #latest (): Batch {
    const batch = this.#options.batches.get(this.#id)
    if (batch === undefined) throw new Error(`there is no batch ${this.#id}`)
    return batch
  }
}

function isNoFile (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
