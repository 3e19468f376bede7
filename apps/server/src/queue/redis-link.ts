import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Logger } from 'pino'
import { checkRedis } from './check-redis.ts'
import { QueueUnreachableError } from './errors.ts'
import type { QueueUrl } from './queue-url.ts'
import { unlessAborted } from './unless-aborted.ts'

const CONNECT_MS = 5_000
const LONGEST_RECONNECT_MS = 2_000
/** Between two attempts at what Redis has refused. */
const RETRY_MS = 1_000
/** Idle for this long, the system asks whether the other side is still there. ioredis's own timeout of silence outlives its connection and ends the next. */
const KEEP_ALIVE_MS = 10_000

/**
 * The connections to a Redis. Once opened it outlives every outage: commands wait until there is a connection again, and only whoever
 * gives them ends their wait.
 */
export class RedisLink implements AsyncDisposable {
  /** For everything that answers at once. */
  readonly commands: Redis
  readonly #blocking = new Set<Redis>()
  readonly #name: string
  readonly #logger: Logger
  #isLost = false
  #isClosed = false

  private constructor (commands: Redis, name: string, logger: Logger) {
    this.commands = commands
    this.#name = name
    this.#logger = logger
    commands.on('close', () => { this.#lost() })
    commands.on('ready', () => { this.#found() })
  }

  /** @throws QueueUnreachableError, QueueUnsupportedError (rejects) */
  static async open ({ href, name }: QueueUrl, logger: Logger): Promise<RedisLink> {
    let isOpen = false
    let reason = 'no answer'
    const commands = new Redis(href, {
      lazyConnect: true,
      connectTimeout: CONNECT_MS,
      maxRetriesPerRequest: null,
      keepAlive: KEEP_ALIVE_MS,
      retryStrategy: times => isOpen ? Math.min(50 * 2 ** Math.min(times, 10), LONGEST_RECONNECT_MS) : null
    })
    // Redis's own words: they name neither user nor password.
    commands.on('error', (error: Error) => { reason = error.message })
    try {
      await commands.connect()
      isOpen = true
      for (const warning of await checkRedis(commands, name)) logger.warn({ event: 'queue-not-durable', queue: name }, warning)
    } catch (cause) {
      commands.disconnect()
      if (cause instanceof Error && 'code' in cause && cause.code === 'QUEUE_UNSUPPORTED') throw cause
      throw new QueueUnreachableError({ queue: name, reason }, { cause })
    }
    return new RedisLink(commands, name, logger)
  }

  get isConnected (): boolean {
    return this.commands.status === 'ready'
  }

  /** A connection for reads that wait for something to come: commands behind one wait, too. Closed by `closeBlocking`, or with the link. */
  openBlocking (): Redis {
    const connection = this.commands.duplicate({ lazyConnect: false })
    connection.on('error', () => {})
    this.#blocking.add(connection)
    return connection
  }

  /** What is being read on it rejects. */
  closeBlocking (connection: Redis): void {
    this.#blocking.delete(connection)
    connection.disconnect()
  }

  /** Calls `listener` whenever a connection that was lost is there again. */
  onReconnect (listener: () => void): void {
    this.commands.on('ready', listener)
  }

  /**
   * Work that Redis refuses, being full or read-only for example, is tried again until it succeeds or the signal aborts.
   * @throws the signal's reason (rejects)
   */
  async persist<Result> (signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted()
      try {
        return await unlessAborted(signal, work())
      } catch (err) {
        signal.throwIfAborted()
        if (this.#isClosed) throw err
        if (attempt === 0) this.#logger.warn({ event: 'queue-refuses', queue: this.#name, err }, 'the queue refuses a command; it is tried again')
        await sleep(RETRY_MS, undefined, { signal })
      }
    }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    this.#isClosed = true
    this.commands.disconnect()
    for (const connection of this.#blocking) connection.disconnect()
  }

  #lost (): void {
    if (this.#isLost || this.#isClosed) return
    this.#isLost = true
    this.#logger.warn({ event: 'queue-lost', queue: this.#name }, 'the queue is out of reach: batches wait, everything else goes on')
  }

  #found (): void {
    if (!this.#isLost) return
    this.#isLost = false
    this.#logger.info({ event: 'queue-back', queue: this.#name }, 'the queue is there again')
  }
}
