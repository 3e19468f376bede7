import { Queue } from 'bullmq'
import type { ChunkMessage } from './messages.ts'
import { jobId, KEY_PREFIX, queueName } from './queue-names.ts'
import type { RedisLink } from './redis-link.ts'

/** BullMQ notes what happens to each job in a stream that nobody here reads. */
const MOST_EVENTS = 100

/** Puts a batch's chunks where the workers of its model find them. */
export class ChunkQueue implements Disposable {
  readonly #queue: Queue<ChunkMessage>
  readonly #link: RedisLink

  constructor (link: RedisLink, model: string) {
    this.#link = link
    this.#queue = new Queue(queueName(model), { connection: link.commands, prefix: KEY_PREFIX, streams: { events: { maxLen: MOST_EVENTS } } })
    this.#queue.on('error', () => {})
  }

  /** A chunk that the queue has already stays as it is. One that is done, or was given up, is gone: it can be put again. */
  async put (chunkId: number, message: ChunkMessage): Promise<void> {
    await this.#queue.add('chunk', message, { jobId: jobId(message.batch, chunkId), removeOnComplete: true, removeOnFail: true })
  }

  /** Which of these chunks wait, or are with a worker. */
  async known (batchId: string, chunkIds: readonly number[]): Promise<ReadonlySet<number>> {
    if (chunkIds.length === 0) return new Set()
    const pipeline = this.#link.commands.pipeline()
    for (const id of chunkIds) pipeline.exists(this.#queue.toKey(jobId(batchId, id)))
    const replies = await pipeline.exec() ?? []
    for (const [error] of replies) if (error !== null) throw error
    return new Set(chunkIds.filter((_id, i) => replies[i]?.[1] === 1))
  }

  /** Chunks that workers have, of this batch and all others. */
  async numActive (): Promise<number> {
    return await this.#link.commands.llen(this.#queue.toKey('active'))
  }

  /** Waits for nothing: without a connection there is nothing to end. */
  [Symbol.dispose] (): void {
    this.#queue.close().catch(() => {})
  }
}
