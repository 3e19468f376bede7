import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyServerOptions } from 'fastify'
import { ApiError } from '../errors.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

type ConnectionErrorHandler = NonNullable<FastifyServerOptions['clientErrorHandler']>

/** Answers what never became a request (no HTTP, too many headers, too slow) in OpenAI's form too, and closes its connection. */
export function connectionErrorHandler (telemetry: Telemetry): ConnectionErrorHandler {
  return (error, socket) => {
    // A connection that was reset has nobody left to answer.
    if (error.code === 'ECONNRESET' || socket.destroyed) return
    const refusal = refusalOf(error.code)
    telemetry.requestRejected(refusal.code)
    if (socket.writable) writeResponse(socket, refusal)
    socket.destroy()
  }
}

function refusalOf (code: string): ApiError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT': return new ApiError('receive_timeout', 'The request took too long to arrive.')
    case 'HPE_HEADER_OVERFLOW': return new ApiError('headers_too_large', 'The request\'s headers are larger than this server takes.')
    default: return new ApiError('malformed_request', 'This is not a well-formed HTTP request.')
  }
}

function writeResponse (socket: Socket, error: ApiError): void {
  const { status } = error.shape
  const body = JSON.stringify(error.body)
  socket.write([
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    '',
    body,
  ].join('\r\n'))
}
