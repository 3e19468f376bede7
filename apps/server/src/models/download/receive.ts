import { DownloadMismatchError, HttpStatusError, IncompleteDownloadError } from './errors.ts'
import type { PartialFile } from './partial-file.ts'
import { unreachable } from './retry.ts'

export interface ReceiveRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly expectedBytes: number | undefined
  readonly fetch: typeof globalThis.fetch
  readonly stallTimeoutMs: number
  readonly signal: AbortSignal | undefined
  /** The length of the whole file, as soon as the server has told it. What it throws ends the try. */
  readonly onTotal: (totalBytes: number) => Promise<void>
  readonly onProgress: (doneBytes: number, totalBytes: number | undefined) => void
}

/**
 * One request for what `partial` still lacks (RFC 9110, 14: a range, which the server may answer with the whole file).
 * @throws HostUnreachableError, HttpStatusError, IncompleteDownloadError, DownloadMismatchError and what writing throws (rejects)
 */
export async function receive (request: ReceiveRequest, partial: PartialFile): Promise<void> {
  const { url, fetch, stallTimeoutMs } = request
  const stall = new AbortController()
  const whenStalled = (): void => { stall.abort(new Error(`nothing came for ${stallTimeoutMs / 1000} seconds`)) }
  let timer = setTimeout(whenStalled, stallTimeoutMs)
  const signal = request.signal === undefined ? stall.signal : AbortSignal.any([request.signal, stall.signal])
  try {
    const response = await answered(url, fetch(url, { headers: headersFor(request, partial.size), signal }))
    const body = await prepare(request, response, partial)
    if (body === undefined) return
    for (const reader = body.stream.getReader(); ;) {
      const { done, value } = await answered(url, reader.read())
      if (done) break
      clearTimeout(timer)
      await partial.write(value)
      timer = setTimeout(whenStalled, stallTimeoutMs)
      request.onProgress(partial.size, body.totalBytes)
      if (body.totalBytes !== undefined && partial.size > body.totalBytes) await reader.cancel()
    }
    if (body.totalBytes !== undefined && partial.size < body.totalBytes) {
      throw new IncompleteDownloadError({ url, receivedBytes: partial.size, expectedBytes: body.totalBytes })
    }
  } finally {
    clearTimeout(timer)
    // Whatever is left of an answer that was not read to its end, and its connection.
    stall.abort()
  }
}

function headersFor ({ headers }: ReceiveRequest, offset: number): Record<string, string> {
  // Lengths and ranges count the file's own bytes, not a compressed form of them.
  return { ...headers, 'accept-encoding': 'identity', ...(offset > 0 && { range: `bytes=${offset}-` }) }
}

interface Body {
  readonly stream: ReadableStream<Uint8Array>
  readonly totalBytes: number | undefined
}

/** Makes `partial` end where the answer begins. Undefined: everything is there already. */
async function prepare (request: ReceiveRequest, response: Response, partial: PartialFile): Promise<Body | undefined> {
  const { url, expectedBytes } = request
  const { status, headers } = response
  let totalBytes = expectedBytes
  if (status === 416 && partial.size > 0) {
    if (/^bytes \*\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] === String(partial.size)) return undefined
    return await startAnew(request, partial)
  } else if (status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '')
    if (range?.[1] !== String(partial.size)) return await startAnew(request, partial)
    if (range[2] !== '*') totalBytes = Number(range[2])
  } else if (status === 200) {
    const length = headers.get('content-length')
    if (length !== null && headers.get('content-encoding') === null) totalBytes = Number(length)
  } else {
    throw HttpStatusError.of(url, response, Date.now())
  }
  // Somebody else's page, most likely: no reason to lose what an earlier try left.
  if (expectedBytes !== undefined && totalBytes !== expectedBytes) {
    throw new DownloadMismatchError({ url, property: 'length', expected: String(expectedBytes), found: String(totalBytes), keptBytes: partial.size })
  }
  if (status === 200 && partial.size > 0) await partial.restart()
  if (totalBytes !== undefined) await request.onTotal(totalBytes)
  return response.body === null ? undefined : { stream: response.body, totalBytes }
}

/** What is there cannot be continued: the next try asks for everything. */
async function startAnew ({ url, expectedBytes }: ReceiveRequest, partial: PartialFile): Promise<never> {
  const receivedBytes = partial.size
  await partial.restart()
  throw new IncompleteDownloadError({ url, receivedBytes, expectedBytes })
}

async function answered<Answer> (url: string, answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer
  } catch (cause) {
    throw unreachable(url, cause)
  }
}
