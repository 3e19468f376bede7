import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freeBytesOf, requireSpace } from './disk-space.ts'
import { DownloadInterruptedError, DownloadMismatchError } from './errors.ts'
import { PartialFile } from './partial-file.ts'
import type { ExpectedDigest } from './partial-file.ts'
import { withProcessLock } from '../../process-lock.ts'
import type { OnWait } from '../../process-lock.ts'
import { receive } from './receive.ts'
import { retryDelayMs } from './retry.ts'

const STALL_TIMEOUT_MS = 60_000

/** What a download needs of the world; tests bring their own. */
export interface DownloadEnvironment {
  readonly fetch: typeof globalThis.fetch
  /** Rejects when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  /** Bytes that may be written below this folder. */
  readonly freeBytes: (folder: string) => Promise<number>
  /** Silence after which a connection counts as broken. */
  readonly stallTimeoutMs: number
}

export interface DownloadRequest extends Partial<DownloadEnvironment> {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Absolute path; folders above it are made. */
  readonly destination: string
  /** Where the bytes gather until they are whole. Default: the destination and `.incomplete`. */
  readonly partial?: string | undefined
  readonly expectedBytes?: number | undefined
  /** At most one of these, in hex: what the finished file must hash to. */
  readonly sha256?: string | undefined
  readonly sha512?: string | undefined
  /** The id git gives the file as a blob; needs `expectedBytes`. */
  readonly gitSha1?: string | undefined
  /** Called at the start, with what an earlier try left, and with everything that arrives. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number | undefined) => void) | undefined
  /** Called before each wait for another try. */
  readonly onRetry?: ((error: Error, delayMs: number) => void) | undefined
  /** Called when another process is downloading the same file and this one waits for it. */
  readonly onWait?: OnWait | undefined
  /** Ends it; what has arrived stays. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Downloads one file: into `<destination>.incomplete`, from where an earlier try ended, then checked, flushed and renamed in one
 * step, so that whatever is at `destination` is whole. A destination that exists with the expected length is left as it is.
 * Network errors, 408, 425, 429 and 5xx are tried again, up to four times in a row without progress.
 *
 * Two processes (or calls) for one destination: `<partial>.lock`, with the holder's process id, lets one at a time write; the other waits
 * for it and finds the work done, or goes on where a holder that died has ended.
 *
 * @throws HostUnreachableError, HttpStatusError, IncompleteDownloadError, DownloadMismatchError (partial file removed, if it was that), DiskFullError,
 * DownloadInterruptedError (rejects; after all but the mismatch, the same call again resumes)
 */
export async function downloadFile (request: DownloadRequest): Promise<void> {
  const { destination, partial = `${destination}.incomplete`, sleep = sleeping } = request
  if (await isThere(request)) return
  throwIfInterrupted(request, 0)
  await mkdir(dirname(destination), { recursive: true })
  await mkdir(dirname(partial), { recursive: true })
  const locking = { sleep: interruptible(request, sleep), signal: request.signal, onWait: request.onWait }
  await withProcessLock(`${partial}.lock`, locking, async lost => {
    // Whoever held the lock before may have finished it.
    if (await isThere(request)) return
    const signal = request.signal === undefined ? lost : AbortSignal.any([request.signal, lost])
    await downloadAlone({ ...request, signal, sleep: interruptible({ ...request, signal }, sleep) }, partial)
  })
}

async function downloadAlone (request: DownloadRequest & Pick<DownloadEnvironment, 'sleep'>, path: string): Promise<void> {
  const { destination, expectedBytes } = request
  const partial = await PartialFile.open(path, expectedDigest(request), request.signal).catch((error: unknown) => {
    throwIfInterrupted(request, 0)
    throw error
  })
  let isOpen = true
  try {
    let isResumed = partial.size > 0
    if (expectedBytes !== undefined && partial.size > expectedBytes) await partial.restart()
    for (;;) {
      await receiveAll(request, partial)
      const problem = mismatch(request, partial)
      if (problem === undefined) break
      if (!isResumed) throw problem
      // What an earlier try left may have been another version's, or damaged when the machine went down: one try without it.
      isResumed = false
      await partial.restart()
    }
    isOpen = false
    await partial.moveTo(destination)
  } catch (error) {
    if (error instanceof DownloadMismatchError && (error.details.keptBytes ?? 0) === 0) {
      isOpen = false
      await partial.remove()
    }
    throw error
  } finally {
    if (isOpen) await partial.close()
  }
}

/** Until the file is whole, or another try is no use. */
async function receiveAll (request: DownloadRequest & Pick<DownloadEnvironment, 'sleep'>, partial: PartialFile): Promise<void> {
  const { expectedBytes, sleep, signal, onProgress, onRetry } = request
  const room = async (total: number): Promise<void> => {
    await requireSpace(dirname(request.destination), total - partial.size, request.freeBytes ?? freeBytesOf)
  }
  if (expectedBytes !== undefined) await room(expectedBytes)
  onProgress?.(partial.size, expectedBytes)
  for (let numFailed = 0; partial.size === 0 || partial.size !== expectedBytes;) {
    const sizeBefore = partial.size
    try {
      await receive({
        url: request.url,
        headers: request.headers ?? {},
        expectedBytes,
        fetch: request.fetch ?? globalThis.fetch,
        stallTimeoutMs: request.stallTimeoutMs ?? STALL_TIMEOUT_MS,
        signal,
        onTotal: room,
        onProgress: (done, total) => { onProgress?.(done, total) }
      }, partial)
      return
    } catch (error) {
      throwIfInterrupted(request, partial.size)
      numFailed = partial.size > sizeBefore ? 1 : numFailed + 1
      const delayMs = retryDelayMs(error, numFailed)
      if (delayMs === undefined || !(error instanceof Error)) throw error
      onRetry?.(error, delayMs)
      await sleep(delayMs, signal)
    }
  }
}

function mismatch ({ url, expectedBytes }: DownloadRequest, partial: PartialFile): DownloadMismatchError | undefined {
  if (expectedBytes !== undefined && partial.size !== expectedBytes) {
    return new DownloadMismatchError({ url, property: 'length', expected: String(expectedBytes), found: String(partial.size) })
  }
  const differing = partial.differingDigest()
  if (differing === undefined) return undefined
  const { algorithm: property, expected, found } = differing
  return new DownloadMismatchError({ url, property, expected, found })
}

function expectedDigest ({ sha256, sha512, gitSha1, expectedBytes }: DownloadRequest): ExpectedDigest | undefined {
  if (sha256 !== undefined) return { algorithm: 'sha256', hex: sha256 }
  if (sha512 !== undefined) return { algorithm: 'sha512', hex: sha512 }
  return gitSha1 === undefined || expectedBytes === undefined ? undefined : { algorithm: 'git-sha1', hex: gitSha1, bytes: expectedBytes }
}

async function isThere ({ destination, expectedBytes }: DownloadRequest): Promise<boolean> {
  try {
    const status = await stat(destination)
    return status.isFile() && (expectedBytes === undefined || status.size === expectedBytes)
  } catch {
    return false
  }
}

function throwIfInterrupted ({ url, signal }: DownloadRequest, receivedBytes: number): void {
  if (signal?.aborted === true) throw new DownloadInterruptedError({ url, receivedBytes }, { cause: signal.reason })
}

function interruptible (request: DownloadRequest, sleep: DownloadEnvironment['sleep']): DownloadEnvironment['sleep'] {
  return async (ms, signal) => {
    try {
      await sleep(ms, signal)
    } catch (error) {
      throwIfInterrupted(request, 0)
      throw error
    }
  }
}

async function sleeping (ms: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(ms, undefined, { signal })
}
