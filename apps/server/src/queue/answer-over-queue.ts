import { setMaxListeners } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { BatchWork } from '../batches/batch-run.ts'
import { inTurn } from '../batches/event-loop-turns.ts'
import { parseLine } from '../batches/check-input.ts'
import type { BatchLine } from '../batches/check-input.ts'
import { LineReader } from '../batches/input-lines.ts'
import { orderLines } from '../batches/line-order.ts'
import type { OrderedLine } from '../batches/line-order.ts'
import { BatchMailbox } from './batch-mailbox.ts'
import type { Delivery } from './batch-mailbox.ts'
import { ChunkPlan } from './chunk-plan.ts'
import type { Chunk } from './chunk-plan.ts'
import { ChunkQueue } from './chunk-queue.ts'
import { ChunkWindow, windowBounds } from './chunk-window.ts'
import { chunkBounds, cutChunks } from './cut-chunks.ts'
import { parseAnswer } from './messages.ts'
import type { ChunkMessage } from './messages.ts'
import type { QueueCounts } from './queue-counts.ts'
import type { RedisLink } from './redis-link.ts'
import { unlessAborted } from './unless-aborted.ts'

/** Between looks at whether Redis still has what it was given. */
const RECONCILE_MS = 2_000
/** Between looks at how many workers there are. */
const FOLLOW_MS = 500

export interface QueueAnsweringOptions {
  readonly link: RedisLink
  /** Whose workers answer. */
  readonly model: string
  readonly counts: QueueCounts
  readonly logger: FastifyBaseLogger
  /** Monotonic, in milliseconds. */
  readonly now: () => number
}

/**
 * Has the unanswered lines of a batch answered by whoever takes chunks of its model from the queue, this server among them. The batch's
 * own files decide what is answered: what Redis has lost is put there again, and what comes twice is written once.
 * @param stop aborted: chunks are left where they are; what is being written is written when this returns. A fault aborts it
 * @throws the abort's reason, what reading and writing throw (rejects)
 */
export async function answerOverQueue (work: BatchWork, stop: AbortController, options: QueueAnsweringOptions): Promise<void> {
  setMaxListeners(Number.POSITIVE_INFINITY, stop.signal)
  await using reader = await LineReader.open(work.path)
  await using plan = await ChunkPlan.open(work.planPath, work.lines)
  using queue = new ChunkQueue(options.link, options.model)
  using mailbox = new BatchMailbox(options.link, work.batchId)
  const batch = new QueuedBatch(work, { reader, plan, queue, mailbox }, options, stop.signal)
  const ends = await Promise.allSettled([batch.put(), batch.collect()].map(async part => {
    await part.catch((error: unknown) => {
      stop.abort(error)
      throw error
    })
  }))
  for (const end of ends) if (end.status === 'rejected') throw stop.signal.reason
}

interface BatchParts {
  readonly reader: LineReader
  readonly plan: ChunkPlan
  readonly queue: ChunkQueue
  readonly mailbox: BatchMailbox
}

class QueuedBatch {
  readonly #work: BatchWork
  readonly #reader: LineReader
  readonly #plan: ChunkPlan
  readonly #queue: ChunkQueue
  readonly #options: QueueAnsweringOptions
  readonly #signal: AbortSignal
  readonly #mailbox: BatchMailbox
  readonly #window = new ChunkWindow(windowBounds)
  readonly #lines: ReadonlyMap<number, BatchLine>
  /** What came before this process is taken. */
  readonly #caughtUp: Promise<void>
  #allPut = false

  constructor (work: BatchWork, { reader, plan, queue, mailbox }: BatchParts, options: QueueAnsweringOptions, signal: AbortSignal) {
    this.#work = work
    this.#reader = reader
    this.#plan = plan
    this.#queue = queue
    this.#options = options
    this.#signal = signal
    this.#mailbox = mailbox
    this.#lines = new Map(work.lines.map(line => [line.number, line]))
    this.#caughtUp = this.#persist(async () => { await this.#mailbox.open(work.expiresAt) }).then(async () => { await this.#takeAll() })
  }

  /** Puts chunk after chunk, as there is room. */
  async put (): Promise<void> {
    await this.#caughtUp
    for await (const chunk of this.#chunks()) {
      await unlessAborted(this.#signal, this.#window.room())
      const unanswered = chunk.lines.map(({ line }) => line).filter(line => !this.#work.results.isAnswered(line))
      if (unanswered.length === 0) continue
      this.#window.add(chunk, unanswered)
      await this.#putChunk(chunk)
    }
    this.#allPut = true
  }

  /** Takes answers until every line has one. */
  async collect (): Promise<void> {
    await this.#caughtUp
    const { now } = this.#options
    for (let lookedAt = now(), followedAt = -Infinity; !(this.#allPut && this.#window.isEmpty);) {
      await this.#take(await this.#persist(async () => await this.#mailbox.wait()))
      if (!this.#allPut && now() - followedAt >= FOLLOW_MS) {
        this.#window.follow(await this.#persist(async () => await this.#queue.numActive()))
        followedAt = now()
      }
      if (now() - lookedAt < RECONCILE_MS) continue
      await this.#reconcile()
      lookedAt = now()
    }
  }

  async * #chunks (): AsyncGenerator<Chunk> {
    yield * this.#plan.earlier
    const { batchId, lines, results, runner, endpoint, maxTokensTogether } = this.#work
    const unplanned = lines.filter(line => !this.#plan.has(line) && !results.isAnswered(line))
    if (unplanned.length === 0) return
    await runner.ready(this.#signal)
    const ordered = orderLines(unplanned, {
      batchId,
      maxTokensTogether,
      blockSize: runner.blockSize ?? 1,
      promptOf: async line => {
        this.#signal.throwIfAborted()
        return await runner.promptOf(endpoint, await this.#bodyOf(line))
      }
    })
    for await (const lines of cutChunks(ordered, chunkBounds)) yield await this.#plan.add(lines)
  }

  /**
   * Puts again what Redis has lost with its last second, or a worker has given up. What is looked up first and is still missing when all
   * that has come is taken, is lost: a chunk that is neither in the queue nor answered, a mark without its answer.
   */
  async #reconcile (): Promise<void> {
    const open = this.#window.open.map(({ chunk, unanswered }) => ({ chunk, unanswered: [...unanswered.keys()] }))
    const { batchId, expiresAt } = this.#work
    const missing = await this.#persist(async () => {
      await this.#mailbox.open(expiresAt)
      const known = await this.#queue.known(batchId, open.map(({ chunk }) => chunk.id))
      return open.filter(({ chunk }) => !known.has(chunk.id))
    })
    if (missing.length === 0) return
    const marked = await this.#persist(async () => await this.#mailbox.sent(missing.flatMap(({ unanswered }) => unanswered)))
    await this.#takeAll()
    const lost = [...marked].filter(number => this.#isUnanswered(number))
    if (lost.length > 0) await this.#persist(async () => { await this.#mailbox.unmark(lost) })
    let numAgain = 0
    for (const { chunk } of missing) {
      if (!this.#window.has(chunk)) continue
      await this.#putChunk(chunk)
      numAgain++
    }
    if (numAgain > 0) this.#options.logger.info({ event: 'chunks-put-again', batch: batchId, chunks: numAgain, lostAnswers: lost.length }, 'parts of a batch are put into the queue again')
  }

  async #putChunk (chunk: Chunk): Promise<void> {
    const lines: ChunkMessage['lines'] = []
    for (const ordered of chunk.lines) if (this.#isUnanswered(ordered.line.number)) lines.push(await this.#lineMessage(ordered))
    if (lines.length === 0) return
    const { batchId, endpoint } = this.#work
    await this.#persist(async () => { await this.#queue.put(chunk.id, { batch: batchId, endpoint, lines }) })
  }

  async #lineMessage ({ line, prefixGroup }: OrderedLine): Promise<ChunkMessage['lines'][number]> {
    return { number: line.number, body: await this.#bodyOf(line), ...prefixGroup !== undefined && { prefixGroup } }
  }

  async #bodyOf (line: BatchLine): Promise<ChunkMessage['lines'][number]['body']> {
    const text = await this.#reader.read(line)
    return await inTurn(() => parseLine(text).body)
  }

  async #takeAll (): Promise<void> {
    for (;;) {
      const deliveries = await this.#persist(async () => await this.#mailbox.peek())
      if (deliveries.length === 0) return
      await this.#take(deliveries)
    }
  }

  /** Writes answers, and lets go of them once the disk has them. */
  async #take (deliveries: readonly Delivery[]): Promise<void> {
    if (deliveries.length === 0) return
    const { counts, logger } = this.#options
    const { results, onAnswer, batchId } = this.#work
    for (const { text } of deliveries) {
      const sent = parseAnswer(text)
      const line = sent === undefined ? undefined : this.#lines.get(sent.number)
      if (sent === undefined || line === undefined) {
        logger.warn({ event: 'answer-not-understood', batch: batchId }, 'something in the queue is no answer of this batch')
        continue
      }
      if (results.isAnswered(line)) counts.answerRepeated()
      else {
        await results.add(line, sent.answer)
        counts.answerCollected()
        onAnswer()
      }
      this.#window.answered(sent.number)
    }
    await results.sync()
    await this.#persist(async () => { await this.#mailbox.remove(deliveries) })
  }

  #isUnanswered (number: number): boolean {
    const line = this.#lines.get(number)
    return line !== undefined && !this.#work.results.isAnswered(line)
  }

  async #persist<Result> (command: () => Promise<Result>): Promise<Result> {
    return await this.#options.link.persist(this.#signal, command)
  }
}
