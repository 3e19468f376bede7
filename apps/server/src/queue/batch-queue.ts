import { performance } from 'node:perf_hooks'
import type { FastifyBaseLogger } from 'fastify'
import type { Logger } from 'pino'
import type { SharedAnswering } from '../batches/batch-run.ts'
import type { LineRunner } from '../batches/line-runner.ts'
import { ChunkTaker } from './chunk-taker.ts'
import { QueueCounts } from './queue-counts.ts'
import type { QueueSnapshot } from './queue-counts.ts'
import type { QueueUrl } from './queue-url.ts'
import { QueuedBatches } from './queued-batches.ts'
import { RedisLink } from './redis-link.ts'

export interface BatchQueueOptions {
  readonly url: QueueUrl
  /** After this long without a sign of life a worker's chunks go to others. */
  readonly leaseMs: number
  readonly logger: Logger
}

/** Batches on more than one machine: this server's part in them, over one Redis. Whoever opened it closes it when nobody uses it any more. */
export class BatchQueue implements AsyncDisposable {
  readonly #link: RedisLink
  readonly #leaseMs: number
  readonly #logger: FastifyBaseLogger
  readonly #counts = new QueueCounts()

  private constructor (link: RedisLink, { leaseMs, logger }: BatchQueueOptions) {
    this.#link = link
    this.#leaseMs = leaseMs
    this.#logger = logger
  }

  /** @throws QueueUnreachableError, QueueUnsupportedError (rejects) */
  static async open (options: BatchQueueOptions): Promise<BatchQueue> {
    return new BatchQueue(await RedisLink.open(options.url, options.logger), options)
  }

  get snapshot (): QueueSnapshot {
    return this.#counts.snapshot(this.#link.isConnected)
  }

  /** What answers other servers' batches here; not started. @param names of the model that runs here */
  worker (runner: LineRunner, names: readonly string[]): ChunkTaker {
    return new ChunkTaker({ link: this.#link, names, runner, leaseMs: this.#leaseMs, counts: this.#counts, logger: this.#logger })
  }

  /** What has this server's batches answered. @param names of the model that runs here, its main one first */
  answering (names: readonly string[]): SharedAnswering {
    return new QueuedBatches({ link: this.#link, names, counts: this.#counts, logger: this.#logger, now: () => performance.now() })
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#link[Symbol.asyncDispose]()
  }
}
