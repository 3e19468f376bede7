/** A model of the Hub to look at: its small files whole, and of its weights no more than their headers. */
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { downloadFile, HttpStatusError, retryDelayMs, unreachable } from '../models/download/index.ts'
import { SHARD_INDEX, shardsOf } from '../models/hub/directory-files.ts'
import type { DirectoryFiles } from '../models/hub/directory-files.ts'
import type { HubClient } from '../models/hub/hub-client.ts'
import type { RepoFile } from '../models/hub/repo-file.ts'

export interface HubHeaders extends AsyncDisposable {
  /**
   * A temporary folder in the layout of a model directory. Weights have their length and their header; what follows is a hole that
   * reads as zeros. Of all that is looked at when a model is opened only one thing lies there: whether biases that a quantiser added are zero.
   */
  readonly folder: string
  /** What the whole model comes to on the Hub. */
  readonly bytes: number
}

export interface HubCommit {
  readonly client: HubClient
  readonly commit: string
  readonly files: readonly RepoFile[]
  readonly fetch: typeof globalThis.fetch
}

/** Covers the header of all but models with thousands of tensors in one file. */
const FIRST_BYTES = 1 << 20
const LENGTH_BYTES = 8
/** The format's own limit on a header. */
const MOST_HEADER_BYTES = 100_000_000
const PARALLEL_FILES = 8

/**
 * Fetches them into a temporary folder, which disposing removes; the cache stays as it is. Undefined where the shard index names what
 * is not there.
 * @throws a download's errors (rejects)
 */
export async function fetchHubHeaders ({ client, commit, files, fetch }: HubCommit, wanted: DirectoryFiles): Promise<HubHeaders | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-inspect-'))
  const remove = async (): Promise<void> => { await rm(folder, { recursive: true, force: true }) }
  try {
    const byPath = new Map(files.map(file => [file.path, file]))
    const pick = (paths: readonly string[]): RepoFile[] => paths.flatMap(path => byPath.get(path) ?? [])
    const place = ({ path }: RepoFile): FilePlace => ({ url: client.urlOf(commit, path), headers: client.headers, path: join(folder, path), fetch })
    const texts = pick(wanted.texts)
    await inBatches(texts, file => fetchWhole(file, place(file)))
    const names = wanted.weights === undefined ? shardsOf(await readFile(join(folder, SHARD_INDEX), 'utf8')) : [wanted.weights]
    const weights = pick(names ?? [])
    if (weights.length !== names?.length) {
      await remove()
      return undefined
    }
    await inBatches(weights, file => fetchHeader(file, place(file)))
    return { folder, bytes: [...texts, ...weights].reduce((sum, { bytes }) => sum + bytes, 0), [Symbol.asyncDispose]: remove }
  } catch (failure) {
    await remove()
    throw failure
  }
}

interface FilePlace {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Where it goes. */
  readonly path: string
  readonly fetch: typeof globalThis.fetch
}

async function fetchWhole ({ bytes, etag, isLfs }: RepoFile, { url, headers, path, fetch }: FilePlace): Promise<void> {
  await downloadFile({ url, headers, fetch, destination: path, expectedBytes: bytes, ...(isLfs ? { sha256: etag } : { gitSha1: etag }) })
}

/** Whether it is a header at all is for whoever reads it to say. */
async function fetchHeader ({ bytes }: RepoFile, place: FilePlace): Promise<void> {
  let start = await fetchStart(place, Math.min(bytes, FIRST_BYTES))
  if (start.length >= LENGTH_BYTES) {
    const headerBytes = Number(start.readBigUInt64LE(0))
    const whole = LENGTH_BYTES + headerBytes
    if (headerBytes <= MOST_HEADER_BYTES && whole > start.length && whole <= bytes) start = await fetchStart(place, whole)
  }
  await using file = await open(place.path, 'w')
  await file.writeFile(start)
  await file.truncate(bytes)
}

/** A server that is overloaded is asked again. */
async function fetchStart (place: FilePlace, bytes: number): Promise<Buffer> {
  for (let numFailed = 1; ; numFailed++) {
    try {
      return await fetchStartOnce(place, bytes)
    } catch (error) {
      const delayMs = retryDelayMs(error, numFailed)
      if (delayMs === undefined) throw error
      await delay(delayMs)
    }
  }
}

/** The first bytes of a file, also from a server that does not know ranges and would send it all. */
async function fetchStartOnce ({ url, headers, fetch }: FilePlace, bytes: number): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0)
  const stop = new AbortController()
  try {
    const response = await fetch(url, { headers: { ...headers, range: `bytes=0-${bytes - 1}`, 'accept-encoding': 'identity' }, signal: stop.signal })
    if (!response.ok) throw HttpStatusError.of(url, response, Date.now())
    const chunks: Uint8Array[] = []
    let received = 0
    for await (const chunk of response.body ?? []) {
      chunks.push(chunk)
      received += chunk.length
      if (received >= bytes) break
    }
    return Buffer.concat(chunks).subarray(0, bytes)
  } catch (cause) {
    throw cause instanceof HttpStatusError ? cause : unreachable(url, cause)
  } finally {
    stop.abort()
  }
}

async function inBatches<Item> (items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  for (let first = 0; first < items.length; first += PARALLEL_FILES) await Promise.all(items.slice(first, first + PARALLEL_FILES).map(work))
}
