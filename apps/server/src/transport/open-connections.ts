import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * The HTTP connections of a server, so that it can be closed without waiting for those that have nothing to say. Node's own
 * `closeIdleConnections` leaves out connections that never sent a request, which clients open ahead of need, and those whose
 * last response ends after the call.
 */
export class OpenConnections {
  /** Unanswered requests by connection. */
  readonly #numUnanswered = new Map<Socket, number>()
  #closing = false

  constructor (server: Server) {
    server.on('connection', (socket: Socket) => this.#opened(socket))
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#asked(request.socket, response))
    // A WebSocket's connection is closed by its own protocol.
    server.on('upgrade', (request: IncomingMessage) => this.#numUnanswered.delete(request.socket))
  }

  /** Closes idle connections now and the others as they are answered. */
  close (): void {
    this.#closing = true
    for (const [socket, numUnanswered] of this.#numUnanswered) if (numUnanswered === 0) socket.destroySoon()
  }

  /** Cuts whatever is still open. */
  destroy (): void {
    for (const socket of this.#numUnanswered.keys()) socket.destroy()
  }

  #opened (socket: Socket): void {
    this.#numUnanswered.set(socket, 0)
    socket.once('close', () => this.#numUnanswered.delete(socket))
  }

  #asked (socket: Socket, response: ServerResponse): void {
    this.#add(socket, 1)
    response.once('close', () => {
      this.#add(socket, -1)
      if (this.#closing && this.#numUnanswered.get(socket) === 0) socket.destroySoon()
    })
  }

  #add (socket: Socket, change: number): void {
    const numUnanswered = this.#numUnanswered.get(socket)
    if (numUnanswered !== undefined) this.#numUnanswered.set(socket, numUnanswered + change)
  }
}
