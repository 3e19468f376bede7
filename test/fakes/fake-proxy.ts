import { once } from 'node:events'
import { createServer, request as requestOnward } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

export interface FakeProxyOptions {
  /** `user:password` without which it answers 407. */
  readonly credentials?: string
  /** Status for every tunnel that is asked for. */
  readonly refuseTunnels?: number
}

/** An HTTP proxy (RFC 9110, 7.6 and 9.3.6): passes on requests in absolute form, and opens tunnels. */
export class FakeProxy implements AsyncDisposable {
  /** `METHOD target`, as they came. */
  readonly requests: string[] = []
  /** `host:port`. */
  readonly address: string
  readonly #server: Server
  readonly #options: FakeProxyOptions
  readonly #tunnels = new Set<Socket>()

  private constructor (server: Server, port: number, options: FakeProxyOptions) {
    this.#server = server
    this.#options = options
    this.address = `127.0.0.1:${port}`
    server.on('request', (request, response) => { this.#passOn(request, response) })
    server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => { this.#tunnel(request, socket, head) })
  }

  static async start (options: FakeProxyOptions = {}): Promise<FakeProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return new FakeProxy(server, typeof address === 'object' && address !== null ? address.port : 0, options)
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    for (const socket of this.#tunnels) socket.destroy()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #passOn (request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request
    this.requests.push(`${method} ${url}`)
    if (!this.#isAdmitted(request)) {
      response.writeHead(407, { 'proxy-authenticate': 'Basic' }).end()
      return
    }
    const { 'proxy-authorization': _, connection: _hop, ...rest } = headers
    const onward = requestOnward(url, { method, headers: rest }, answer => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    onward.on('error', () => { response.writeHead(502).end() })
    request.pipe(onward)
  }

  #tunnel (request: IncomingMessage, socket: Socket, head: Buffer): void {
    const target = request.url ?? ''
    this.requests.push(`CONNECT ${target}`)
    this.#keep(socket)
    const refusal = this.#isAdmitted(request) ? this.#options.refuseTunnels : 407
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal} No\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    const onward = this.#keep(connect(Number(target.replace(/^.*:/, '')), target.replace(/:\d+$/, '')))
    onward.on('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.write(head)
      socket.pipe(onward).pipe(socket)
    })
  }

  #isAdmitted ({ headers }: IncomingMessage): boolean {
    const { credentials } = this.#options
    return credentials === undefined || headers['proxy-authorization'] === `Basic ${Buffer.from(credentials).toString('base64')}`
  }

  #keep (socket: Socket): Socket {
    this.#tunnels.add(socket)
    socket.on('error', () => { socket.destroy() })
    return socket.on('close', () => { this.#tunnels.delete(socket) })
  }
}
