import type { FastifyBaseLogger } from 'fastify'
import type { RawData, WebSocket } from 'ws'
import { ApiError, toApiError } from '../errors.ts'
import type { GenerationEndpoint } from '../openai/generation-endpoint.ts'
import type { GenerationOutput } from '../openai/generation-output.ts'
import type { ServerContext } from '../server-context.ts'
import { monotonicSeconds } from '../telemetry/monotonic-seconds.ts'
import { ClientRequest } from './client-request.ts'
import { ReaderPressure } from './reader-pressure.ts'
import { idInFrame, parseClientFrame, serverFrame } from './socket-frames.ts'

/** WebSocket close code (RFC 6455, section 7.4.1). */
const GOING_AWAY = 1001

/** Answers that cost the client nothing may pile up unread to this many times the limit. */
const HARD_LIMIT_FACTOR = 16

/** Serves requests over `socket` until it closes. */
export function serveGenerationSocket (socket: WebSocket, endpoint: GenerationEndpoint, context: ServerContext, log: FastifyBaseLogger): void {
  new GenerationSocket(socket, endpoint, context, log).listen()
}

/**
 * Many generations over one WebSocket. A slow reader pauses the generations of this socket and no others; closing aborts
 * them all; a frame that makes no sense costs an error frame and nothing else.
 */
class GenerationSocket {
  readonly #socket: WebSocket
  readonly #endpoint: GenerationEndpoint
  readonly #context: ServerContext
  readonly #log: FastifyBaseLogger
  readonly #requests = new Map<string, ClientRequest>()
  readonly #pressure: ReaderPressure
  readonly #ping: NodeJS.Timeout
  readonly #offDrain: () => void
  #answeredPing = true
  /** Characters of errors and cancellations that the client has not read. */
  #unreadReplies = 0

  constructor (socket: WebSocket, endpoint: GenerationEndpoint, context: ServerContext, log: FastifyBaseLogger) {
    this.#socket = socket
    this.#endpoint = endpoint
    this.#context = context
    this.#log = log
    this.#pressure = this.#newPressure()
    this.#ping = setInterval(() => this.#checkPeer(), context.config.socketPingSeconds * 1000).unref()
    this.#offDrain = context.drain.onDrain(() => this.#closeIfDrained())
  }

  listen (): void {
    const socket = this.#socket
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary))
    socket.on('pong', () => { this.#answeredPing = true })
    socket.on('error', error => this.#log.info({ event: 'socket-error', message: error.message }, 'socket error'))
    socket.on('close', () => this.#closed())
    this.#closeIfDrained()
  }

  #receive (data: RawData, isBinary: boolean): void {
    const text = isBinary ? '' : data.toString()
    try {
      if (isBinary) throw new ApiError('invalid_type', 'Frames are text.')
      const frame = parseClientFrame(text)
      if (frame.type === 'cancel') return this.#requests.get(frame.id)?.abort('cancel')
      if (this.#requests.has(frame.id)) throw new ApiError('duplicate_id', `Request '${frame.id}' is still unfinished on this socket.`, { param: 'id' })
      const limit = this.#context.config.socketMaxInFlight
      if (this.#requests.size >= limit) throw new ApiError('rate_limit_exceeded', `This socket has ${limit} unfinished requests, its limit.`)
      this.#generate(frame.id, frame.body).catch((error: unknown) => this.#log.error({ err: error, event: 'socket-request-failed' }, 'socket request failed'))
    } catch (error) {
      this.#refuse(idInFrame(text), toApiError(error))
    }
  }

  async #generate (id: string, body: unknown): Promise<void> {
    const log = this.#log.child({ socketRequestId: id })
    const request = new ClientRequest({ context: this.#context, endpoint: this.#endpoint, body, log, arrivedAt: monotonicSeconds() })
    this.#requests.set(id, request)
    if (this.#pressure.paused) request.pause()
    try {
      const plan = await request.plan()
      if (!request.abandoned) await request.start({ ...plan, stream: true }, this.#output(id)).finished()
    } catch (error) {
      this.#refuse(id, toApiError(error))
    } finally {
      this.#requests.delete(id)
      request.close()
      if (request.abandoned) this.#reply(serverFrame.done(JSON.stringify(id)))
      this.#closeIfDrained()
    }
  }

  #output (id: string): GenerationOutput {
    const idJson = JSON.stringify(id)
    return {
      chunk: json => this.#send(serverFrame.chunk(idJson, json)),
      flush () {},
      end: () => this.#send(serverFrame.done(idJson)),
      fail: error => this.#refuse(id, error),
    }
  }

  #refuse (id: string | null, error: ApiError): void {
    this.#context.telemetry.requestRejected(error.code)
    if (error.shape.status >= 500) this.#log.error({ err: error, event: 'request-failed', code: error.code }, 'request failed')
    this.#reply(serverFrame.error(id, error))
  }

  /**
   * Sends what no generation paid for. Pausing generations does not stop a client that asks for errors and reads none of them.
   * Chunks do not count: a single one, of a long prompt with its log-probabilities, may be larger than any limit.
   */
  #reply (frame: string): void {
    this.#unreadReplies += frame.length
    this.#send(frame, () => { this.#unreadReplies -= frame.length })
    if (this.#unreadReplies > HARD_LIMIT_FACTOR * this.#context.config.slowReaderBytes) this.#socket.terminate()
  }

  #send (frame: string, read: () => void = () => {}): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#socket.send(frame, () => {
      read()
      this.#sent()
    })
    this.#pressure.written(this.#socket.bufferedAmount)
  }

  #sent (): void {
    if (this.#pressure.paused && this.#socket.bufferedAmount === 0) this.#pressure.drained()
  }

  #newPressure (): ReaderPressure {
    const { config, telemetry } = this.#context
    return new ReaderPressure({
      limitBytes: config.slowReaderBytes,
      patienceMs: config.slowReaderSeconds * 1000,
      pause: () => {
        telemetry.readerPaused()
        for (const request of this.#requests.values()) request.pause()
      },
      resume: () => { for (const request of this.#requests.values()) request.resume() },
      giveUp: () => {
        for (const request of this.#requests.values()) request.abort('slow_reader')
        // It reads nothing, so it would not read a close frame either.
        this.#socket.terminate()
      },
    })
  }

  #checkPeer (): void {
    if (!this.#answeredPing && !this.#pressure.paused) return this.#socket.terminate()
    this.#answeredPing = false
    this.#socket.ping()
  }

  #closeIfDrained (): void {
    if (this.#context.drain.draining && this.#requests.size === 0) this.#socket.close(GOING_AWAY, 'the server is going away')
  }

  #closed (): void {
    clearInterval(this.#ping)
    this.#pressure.close()
    this.#offDrain()
    for (const request of this.#requests.values()) request.abort('disconnect')
  }
}
