import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface ReceivedRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  /** The parsed JSON body; undefined without one. */
  readonly body: Readonly<Record<string, unknown>> | undefined
}

export interface FakeServer extends AsyncDisposable {
  readonly url: URL
  readonly received: readonly ReceivedRequest[]
}

/** An HTTP server on a free port of the loopback, answering as the test says. */
export async function fakeServer (answer: (request: ReceivedRequest, response: ServerResponse) => void | Promise<void>): Promise<FakeServer> {
  const received: ReceivedRequest[] = []
  const server = createServer((message, response) => {
    const chunks: Buffer[] = []
    message.on('data', (chunk: Buffer) => chunks.push(chunk))
    message.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8')
      const request = { method: message.method ?? '', path: message.url ?? '', headers: message.headers, body: text === '' ? undefined : JSON.parse(text) }
      received.push(request)
      void answer(request, response)
    })
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('the server has no port')
  return {
    url: new URL(`http://127.0.0.1:${address.port}`),
    received,
    async [Symbol.asyncDispose] () {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }
}

export function sendJson (response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** Streams these chunks as events, each in a write of its own, then `[DONE]`. */
export async function sendEvents (response: ServerResponse, chunks: readonly unknown[]): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  for (const chunk of chunks) {
    response.write(`data: ${JSON.stringify(chunk)}\n\n`)
    await new Promise(resolve => setImmediate(resolve))
  }
  response.end('data: [DONE]\n\n')
}

/** The chunks of a completion that says these texts, with its usage. */
export function completionChunks (texts: readonly string[], promptTokens: number): unknown[] {
  const usage = { prompt_tokens: promptTokens, completion_tokens: texts.length, total_tokens: promptTokens + texts.length }
  return [...texts.map(text => ({ choices: [{ index: 0, text }], usage: null })), { choices: [], usage }]
}
