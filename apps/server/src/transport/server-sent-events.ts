import type { ServerResponse } from 'node:http'
import type { ApiError } from '../errors.ts'
import type { GenerationOutput } from '../openai/generation-output.ts'
import type { KeepAlive, KeptAlive } from './keep-alive.ts'
import { cutUnlessTaken } from './last-bytes.ts'
import type { ReaderPressure } from './reader-pressure.ts'

export interface ServerSentEventsOptions {
  readonly response: ServerResponse
  readonly keepAlive: KeepAlive
  readonly pressure: ReaderPressure
  readonly onKeepAlive: () => void
  /** How long its reader may take over what is unread at the end. */
  readonly patienceMs: number
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/**
 * Server-sent events over one HTTP response. Headers go out at once and comments fill silences, because clients and proxies
 * give up on a connection that says nothing during a long prefill. Chunks of one flush share one write.
 */
export class ServerSentEvents implements GenerationOutput, KeptAlive {
  readonly #response: ServerResponse
  readonly #keepAlive: KeepAlive
  readonly #pressure: ReaderPressure
  readonly #onKeepAlive: () => void
  readonly #now: () => number
  readonly #patienceMs: number
  #queued = ''
  lastWriteAt = 0

  constructor ({ response, keepAlive, pressure, onKeepAlive, now, patienceMs }: ServerSentEventsOptions) {
    this.#response = response
    this.#keepAlive = keepAlive
    this.#pressure = pressure
    this.#onKeepAlive = onKeepAlive
    this.#now = now
    this.#patienceMs = patienceMs
    response.on('drain', () => pressure.drained())
    response.once('close', () => this.#close())
  }

  /** Sends the headers, with those already set on the response. */
  open (): void {
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // nginx would collect events in its buffer.
      'x-accel-buffering': 'no',
    })
    this.#response.flushHeaders()
    this.lastWriteAt = this.#now()
    if (!this.#response.destroyed) this.#keepAlive.add(this)
  }

  chunk (json: string): void {
    this.#queued += `data: ${json}\n\n`
  }

  flush (): void {
    if (this.#queued === '') return
    const text = this.#queued
    this.#queued = ''
    this.#write(text)
  }

  end (): void {
    this.#finish('data: [DONE]\n\n')
  }

  /** The status is long sent: the error is an event, and `[DONE]` stays out, so that no client takes this for the end. */
  fail (error: ApiError): void {
    this.#finish(`data: ${JSON.stringify(error.body)}\n\n`)
  }

  keepAlive (): void {
    // Its reader has unread bytes already.
    if (this.#pressure.paused) return
    this.#onKeepAlive()
    this.#write(': keep-alive\n\n')
  }

  #write (text: string): void {
    if (this.#response.destroyed || this.#response.writableEnded) return
    const room = this.#response.write(text)
    this.lastWriteAt = this.#now()
    // Node tells of a drain only after a write that found no room.
    if (!room) this.#pressure.written(this.#response.writableLength)
  }

  #finish (last: string): void {
    const text = this.#queued + last
    this.#queued = ''
    this.#close()
    if (this.#response.destroyed) return
    this.#response.end(text)
    cutUnlessTaken(this.#response, this.#patienceMs)
  }

  #close (): void {
    this.#keepAlive.remove(this)
    this.#pressure.close()
  }
}
