import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

/** Connections to the server under test, kept alive and as many as there are requests at once. */
export class ServerClient {
  readonly baseUrl: URL
  readonly #headers: Readonly<Record<string, string>>
  readonly #agent: HttpAgent | HttpsAgent

  /** @param headers sent with every request */
  constructor (baseUrl: URL, headers: Readonly<Record<string, string>>) {
    this.baseUrl = baseUrl
    this.#headers = headers
    const options = { keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity }
    this.#agent = baseUrl.protocol === 'https:' ? new HttpsAgent(options) : new HttpAgent(options)
  }

  /** Closes idle connections. */
  close (): void {
    this.#agent.destroy()
  }

  /** @throws Error with the status and the beginning of the answer when the status is not 2xx */
  async json (path: string, body?: unknown): Promise<unknown> {
    const chunks: Buffer[] = []
    await this.stream(path, body === undefined ? undefined : JSON.stringify(body), chunk => { chunks.push(chunk) })
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  }

  /**
   * GETs, or POSTs a JSON body, and hands on the answer's bytes as they arrive; resolves at its end.
   * @throws Error as {@link json}
   */
  stream (path: string, body: string | undefined, onChunk: (chunk: Buffer) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const send = this.baseUrl.protocol === 'https:' ? httpsRequest : httpRequest
      const headers = body === undefined
        ? this.#headers
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...this.#headers }
      const request = send(new URL(this.baseUrl.pathname.replace(/\/$/, '') + path, this.baseUrl), { method: body === undefined ? 'GET' : 'POST', agent: this.#agent, headers })
      request.on('error', reject)
      request.on('response', response => {
        const { statusCode = 0 } = response
        if (statusCode < 200 || statusCode >= 300) {
          readBeginning(response).then(text => { reject(new Error(`HTTP ${statusCode}: ${text}`)) }, reject)
          return
        }
        response.on('data', onChunk)
        response.on('error', reject)
        response.on('end', resolve)
      })
      request.end(body)
    })
  }
}

async function readBeginning (response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8').slice(0, 500)
}
