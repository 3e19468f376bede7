import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** Slower than any line that files are sent over on purpose; what a sender earns a second with. */
export const LEAST_BYTES_PER_SECOND = 16 * 1024

/**
 * Watches that the bodies of requests arrive: each has `timeoutMs`, and a second more for every `LEAST_BYTES_PER_SECOND` that have come,
 * so that a large file may take as long as its bytes keep coming, and a sender of one byte now and then, who only wants to hold a
 * connection, may not. A body is as long as its route allows, which bounds the whole. Node's own `requestTimeout` knows no such
 * difference; its `headersTimeout` is for what comes before.
 * @param refuse ends the connection of a request that has not arrived in time
 * @returns to be called with each request when its headers are there
 * @see https://httpd.apache.org/docs/2.4/mod/mod_reqtimeout.html (MinRate)
 */
export function receiveTimeout (timeoutMs: number, refuse: (socket: Socket) => void): (request: IncomingMessage) => void {
  return request => {
    if (!hasBody(request)) return
    const { socket } = request
    const bytesBefore = socket.bytesRead
    const startedAt = performance.now()
    const look = (): void => {
      if (request.complete || socket.destroyed) return
      const allowedMs = timeoutMs + 1000 * (socket.bytesRead - bytesBefore) / LEAST_BYTES_PER_SECOND
      const leftMs = startedAt + allowedMs - performance.now()
      if (leftMs <= 0) refuse(socket)
      else timer = setTimeout(look, Math.min(Math.ceil(leftMs), timeoutMs)).unref()
    }
    let timer = setTimeout(look, timeoutMs).unref()
    request.once('close', () => { clearTimeout(timer) })
  }
}

function hasBody ({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}
