import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'

/** What goes wrong with the next request for a file; each is used up by one request. */
export type Fault =
  | { readonly type: 'status', readonly status: number, readonly headers?: Readonly<Record<string, string>> }
  /** The connection breaks after so many bytes of the answer. */
  | { readonly type: 'cut', readonly afterBytes: number }
  /** Nothing more comes after so many bytes; the connection stays. */
  | { readonly type: 'hold', readonly afterBytes: number }
  | { readonly type: 'ignore-range' }
  /** Another range than the one asked for. */
  | { readonly type: 'wrong-range' }
  /** As many bytes, but others. */
  | { readonly type: 'corrupt' }
  /** No length is told. */
  | { readonly type: 'chunked' }

export interface ServedRequest {
  readonly path: string
  readonly range: string | undefined
  readonly authorization: string | undefined
  status: number
  /** Bytes of the file that were written to the connection. */
  sentBytes: number
}

/** An HTTP server of files in memory, with ranges (RFC 9110) and faults to order. */
export class FaultyFileServer implements AsyncDisposable {
  readonly requests: ServedRequest[] = []
  readonly #files = new Map<string, Uint8Array>()
  readonly #faults = new Map<string, Fault[]>()
  readonly #held = new Set<ServerResponse>()
  readonly #server: Server
  readonly origin: string

  private constructor (server: Server, port: number) {
    this.#server = server
    this.origin = `http://127.0.0.1:${port}`
    server.on('request', (request, response) => { this.#answer(request, response) })
  }

  static async start (): Promise<FaultyFileServer> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return new FaultyFileServer(server, typeof address === 'object' && address !== null ? address.port : 0)
  }

  /** @returns the file's URL */
  put (path: string, bytes: Uint8Array): string {
    this.#files.set(path, bytes)
    return this.origin + path
  }

  fail (path: string, ...faults: readonly Fault[]): void {
    this.#faults.set(path, [...this.#faults.get(path) ?? [], ...faults])
  }

  /** Breaks the connections of the answers that are being held. */
  breakHeld (): void {
    for (const response of this.#held) response.destroy()
    this.#held.clear()
  }

  requestsOf (path: string): ServedRequest[] { return this.requests.filter(request => request.path === path) }

  async [Symbol.asyncDispose] (): Promise<void> {
    if (!this.#server.listening) return
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #answer (request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent((request.url ?? '').replace(/\?.*$/, ''))
    const served: ServedRequest = { path, range: request.headers.range, authorization: request.headers.authorization, status: 0, sentBytes: 0 }
    this.requests.push(served)
    const file = this.#files.get(path)
    const fault = this.#faults.get(path)?.shift()
    const end = (status: number, headers: Readonly<Record<string, string>> = {}): void => {
      served.status = status
      response.writeHead(status, headers).end()
    }
    if (fault?.type === 'status') {
      end(fault.status, fault.headers)
      return
    }
    if (file === undefined) {
      end(404)
      return
    }
    const [, start, last] = fault?.type === 'ignore-range' ? [] : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    if (start !== undefined && Number(start) >= file.length) {
      end(416, { 'content-range': `bytes */${file.length}` })
      return
    }
    const from = fault?.type === 'wrong-range' ? 0 : Number(start ?? 0)
    const to = last === undefined || last === '' ? file.length : Math.min(file.length, Number(last) + 1)
    const body = fault?.type === 'corrupt' ? file.map(byte => byte ^ 1).subarray(from, to) : file.subarray(from, to)
    served.status = start === undefined ? 200 : 206
    response.writeHead(served.status, {
      ...(fault?.type !== 'chunked' && { 'content-length': body.length }),
      ...(start !== undefined && { 'content-range': `bytes ${from}-${to - 1}/${file.length}` })
    })
    const sent = fault?.type === 'cut' || fault?.type === 'hold' ? body.subarray(0, fault.afterBytes) : body
    served.sentBytes = sent.length
    if (fault?.type === 'hold') this.#held.add(response)
    response.write(sent, () => {
      if (fault?.type === 'cut') response.destroy()
      else if (fault?.type !== 'hold') response.end()
    })
  }
}
