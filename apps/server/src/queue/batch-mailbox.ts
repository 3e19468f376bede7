import type { Redis } from 'ioredis'
import type { RedisLink } from './redis-link.ts'
import { batchKeys } from './queue-names.ts'
import type { BatchKeys } from './queue-names.ts'

/** What is left in Redis by an owner that never comes back goes after this long without an answer. */
const RETENTION_MS = 8 * 24 * 3600 * 1000
/** Read together. */
const MOST_AT_ONCE = 64
/** Longest wait for an answer, so that other things have their turn. */
const WAIT_MS = 1_000

/** An answer once, and only for a batch that wants it; mark and answer are written together, or neither is. */
const SEND = `
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if redis.call('SETBIT', KEYS[2], ARGV[1], 1) == 1 then return 0 end
redis.call('XADD', KEYS[3], '*', 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return 1`

/** What became of an answer: sent, sent before by somebody, or the batch has ended. */
export type Sending = 'sent' | 'repeated' | 'ended'

/** An entry of the stream: its id, and what was sent. */
export interface Delivery {
  readonly id: string
  readonly text: string
}

/** Where the answers to one batch's lines go from the workers to the server that has the batch, and what both know of them. */
export class BatchMailbox implements Disposable {
  readonly #link: RedisLink
  readonly #keys: BatchKeys
  /** Its own, so that no batch's wait holds up another's. */
  #blocking: Redis | undefined

  constructor (link: RedisLink, batchId: string) {
    this.#link = link
    this.#keys = batchKeys(batchId)
  }

  /** Wants answers. @param expiresAt Unix seconds; by then Redis closes it, whether the owner is there or not */
  async open (expiresAt: number | null): Promise<void> {
    if (expiresAt === null) await this.#link.commands.set(this.#keys.open, '1', 'PX', RETENTION_MS)
    else await this.#link.commands.set(this.#keys.open, '1', 'PXAT', expiresAt * 1000)
  }

  async isOpen (): Promise<boolean> {
    return await this.#link.commands.exists(this.#keys.open) === 1
  }

  /** Wants none any more; what has come and was not taken is gone. */
  async close (): Promise<void> {
    await this.#link.commands.del(this.#keys.open, this.#keys.answered, this.#keys.answers)
  }

  async send (number: number, text: string): Promise<Sending> {
    const { open, answered, answers } = this.#keys
    const outcome = await this.#link.commands.eval(SEND, 3, open, answered, answers, number, text, RETENTION_MS)
    return outcome === 1 ? 'sent' : outcome === 0 ? 'repeated' : 'ended'
  }

  /** Which of these lines an answer has been sent for. */
  async sent (numbers: readonly number[]): Promise<ReadonlySet<number>> {
    if (numbers.length === 0) return new Set()
    const pipeline = this.#link.commands.pipeline()
    for (const number of numbers) pipeline.getbit(this.#keys.answered, number)
    const replies = await pipeline.exec() ?? []
    for (const [error] of replies) if (error !== null) throw error
    return new Set(numbers.filter((_number, i) => replies[i]?.[1] === 1))
  }

  /** Forgets that answers have been sent: they are lost. */
  async unmark (numbers: readonly number[]): Promise<void> {
    const pipeline = this.#link.commands.pipeline()
    for (const number of numbers) pipeline.setbit(this.#keys.answered, number, 0)
    for (const [error] of await pipeline.exec() ?? []) if (error !== null) throw error
  }

  /** Answers that have come, the oldest first; none after a while without any. They stay until `remove`. */
  async wait (): Promise<Delivery[]> {
    this.#blocking ??= this.#link.openBlocking()
    const read = await this.#blocking.xread('COUNT', MOST_AT_ONCE, 'BLOCK', WAIT_MS, 'STREAMS', this.#keys.answers, '0')
    return (read ?? []).flatMap(([, entries]) => entries.map(delivery))
  }

  /** The same without waiting. */
  async peek (): Promise<Delivery[]> {
    return (await this.#link.commands.xrange(this.#keys.answers, '-', '+', 'COUNT', MOST_AT_ONCE)).map(delivery)
  }

  async remove (deliveries: readonly Delivery[]): Promise<void> {
    await this.#link.commands.xdel(this.#keys.answers, ...deliveries.map(({ id }) => id))
  }

  /** Ends a wait that is going on, which rejects. */
  [Symbol.dispose] (): void {
    if (this.#blocking !== undefined) this.#link.closeBlocking(this.#blocking)
    this.#blocking = undefined
  }
}

function delivery ([id, fields]: [id: string, fields: string[]]): Delivery {
  return { id, text: fields[1] ?? '' }
}
