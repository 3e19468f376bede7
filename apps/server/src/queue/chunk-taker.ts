import { setTimeout as sleep } from 'node:timers/promises'
import { WaitingError, Worker } from 'bullmq'
import type { Job } from 'bullmq'
import type { FastifyBaseLogger } from 'fastify'
import type { LineRunner } from '../batches/line-runner.ts'
import { settledWithin } from '../cli/settled-within.ts'
import { ActiveChunks, ChunkStop } from './active-chunks.ts'
import { answerChunk } from './answer-chunk.ts'
import type { ChunkAnswering } from './answer-chunk.ts'
import { BatchMailbox } from './batch-mailbox.ts'
import { chunkBounds } from './cut-chunks.ts'
import { parseChunk } from './messages.ts'
import type { QueueCounts } from './queue-counts.ts'
import { KEY_PREFIX, queueName } from './queue-names.ts'
import type { RedisLink } from './redis-link.ts'

/** A chunk is tried as long as its batch wants it: one that ends its workers cannot be told from one whose workers were ended. */
const MOST_STALLS = 1_000_000
/** Between looks at whether the batches that are worked for still want answers. */
const WATCH_MS = 1_000
/** For giving chunks back; without a connection their leases run out. */
const GIVE_BACK_MS = 3_000

export interface ChunkTakerOptions {
  readonly link: RedisLink
  /** Names of the model that runs here; chunks for any of them are taken. */
  readonly names: readonly string[]
  readonly runner: LineRunner
  /** After this long without a sign of life a worker's chunks go to others. */
  readonly leaseMs: number
  readonly counts: QueueCounts
  readonly logger: FastifyBaseLogger
}

/** Takes chunks of batches, its own server's and others', and answers their lines in the background: what BullMQ calls a worker. */
export class ChunkTaker {
  readonly #options: ChunkTakerOptions
  readonly #stopping = new AbortController()
  readonly #active = new ActiveChunks()
  #workers: readonly Worker[] = []
  #running: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined

  constructor (options: ChunkTakerOptions) {
    this.#options = options
  }

  /** Takes chunks as soon as there is an engine to answer them, until `stop`. */
  start (): void {
    this.#running = this.#run().catch((err: unknown) => {
      if (!this.#stopping.signal.aborted) this.#options.logger.error({ err, event: 'queue-worker-failed' }, 'this server takes nothing from the queue')
    })
  }

  /** Takes nothing more and gives back at once what it has, for others to go on with; answers that are sent stay sent. */
  async stop (): Promise<void> {
    this.#stopped ??= this.#stop()
    await this.#stopped
  }

  async #run (): Promise<void> {
    const { runner, names, link, leaseMs, counts, logger } = this.#options
    const { signal } = this.#stopping
    await runner.ready(signal)
    const answering = { link, runner, counts }
    const workers = names.map(name => new Worker(queueName(name), async (job, token) => { await this.#process(job, token, answering) }, {
      connection: link.commands,
      prefix: KEY_PREFIX,
      // One more than fills the engine, which then never waits for the next chunk while the last lines of these are answered.
      concurrency: 1 + Math.ceil(runner.numAtOnce / chunkBounds.enoughLines),
      lockDuration: leaseMs,
      stalledInterval: leaseMs,
      maxStalledCount: MOST_STALLS
    }))
    this.#workers = workers
    for (const worker of workers) this.#listen(worker)
    logger.info({ event: 'queue-worker-started', models: names }, 'this server answers batches from the queue')
    for (;;) {
      counts.chunksWaiting = await link.persist(signal, async () => await this.#numWaiting(workers))
      for (const batch of this.#active.batches) {
        if (!await link.persist(signal, async () => await new BatchMailbox(link, batch).isOpen())) this.#active.batchEnded(batch)
      }
      await sleep(WATCH_MS, undefined, { signal })
    }
  }

  #listen (worker: Worker): void {
    const { counts, logger } = this.#options
    // Lost connections are the link's to report.
    worker.on('error', err => { logger.debug({ err, event: 'queue-worker-error' }) })
    worker.on('stalled', job => {
      counts.chunkStalled()
      logger.info({ event: 'chunk-stalled', job }, 'a chunk whose worker fell silent goes to another')
    })
    worker.on('lockRenewalFailed', jobs => { for (const job of jobs) this.#active.leaseLost(job) })
  }

  async #process (job: Job<unknown>, token: string | undefined, answering: ChunkAnswering): Promise<void> {
    const { logger, counts } = this.#options
    const chunk = parseChunk(job.data)
    if (chunk === undefined || job.id === undefined) {
      logger.warn({ event: 'chunk-not-understood', job: job.id }, 'something in the queue is no chunk of a batch; it is dropped')
      return
    }
    const stop = new AbortController()
    using _active = this.#active.enter({ job: job.id, batch: chunk.batch, stop })
    // It may have been on its way when the others were stopped.
    if (this.#stopping.signal.aborted) this.#active.shutdown()
    counts.chunksActive++
    try {
      await answerChunk(chunk, answering, stop)
    } catch (error) {
      if (!(error instanceof ChunkStop)) {
        logger.warn({ err: error, event: 'chunk-failed', job: job.id }, 'a chunk cannot be answered here now; it goes back to its batch')
        throw error
      }
      if (error.reason === 'batch-ended') return
      if (error.reason === 'shutdown') await job.moveToWait(token)
      // To BullMQ: this chunk is not done, and no failure.
      throw new WaitingError()
    } finally {
      counts.chunksActive--
    }
  }

  async #numWaiting (workers: readonly Worker[]): Promise<number> {
    const lengths = await Promise.all(workers.map(async worker => await this.#options.link.commands.llen(worker.toKey('wait'))))
    return lengths.reduce((sum, length) => sum + length, 0)
  }

  async #stop (): Promise<void> {
    this.#stopping.abort(new Error('the server takes nothing more from the queue'))
    await this.#running
    const ended = Promise.all(this.#workers.map(async worker => {
      await worker.pause(true)
      this.#active.shutdown()
      await worker.close()
    }))
    if (!await settledWithin(ended, GIVE_BACK_MS)) this.#options.logger.warn({ event: 'chunks-not-given-back' }, 'what this server had of the queue goes to others when its lease has run out')
  }
}
