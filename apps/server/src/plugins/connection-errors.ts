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
    if (error.code !== 'ECONNRESET') refuse(socket, refusalOf(error.code), telemetry)
  }
}

/** The same for a request whose body does not arrive in time. */
export function refuseSlowRequest (socket: Socket, telemetry: Telemetry): void {
  refuse(socket, tooSlow(), telemetry)
}

function refuse (socket: Socket, refusal: ApiError, telemetry: Telemetry): void {
  if (socket.destroyed) return
  telemetry.requestRejected(refusal.code)
  if (socket.writable) writeResponse(socket, refusal)
  socket.destroy()
}

function refusalOf (code: string): ApiError {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT': return tooSlow()
    case 'HPE_HEADER_OVERFLOW': return new ApiError('headers_too_large', 'The request\'s headers are larger than this server takes.')
    default: return new ApiError('malformed_request', 'This is not a well-formed HTTP request.')
  }
}

function tooSlow (): ApiError {
  return new ApiError('receive_timeout', 'The request took too long to arrive.')
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
