import { mkdir } from 'node:fs/promises'
import { describeWait, downloadFile, freeBytesOf, requireSpace } from '../download/index.ts'
import type { DownloadEnvironment, DownloadProgress, OnWait } from '../download/index.ts'
import type { HubClient } from './hub-client.ts'
import type { RepoCache } from './repo-cache.ts'
import type { RepoFile } from './repo-file.ts'

/** Enough to fill a fast line through a slow server, few enough for its patience. */
const PARALLEL_FILES = 4

export interface DownloadFilesOptions {
  readonly client: HubClient
  readonly cache: RepoCache
  readonly commit: string
  readonly environment: Partial<DownloadEnvironment>
  readonly progress: DownloadProgress
  readonly signal: AbortSignal | undefined
}

/**
 * Makes sure that a snapshot has these files, verified by the hash that is their blob's name, in order of their importance: those that
 * come first are there first.
 * @param name what the progress display calls it
 * @param stages files of one stage are downloaded together, those of the next when it is done
 * @throws the download's errors (rejects), once all its siblings have stopped
 */
export async function downloadFiles (name: string, stages: ReadonlyArray<readonly RepoFile[]>, options: DownloadFilesOptions): Promise<void> {
  const { cache, progress, environment } = options
  const blobs = await lackingBlobs(stages, options)
  if (blobs.length === 0) return
  const doneBytes = new Map(await Promise.all(blobs.map(async blob => [blob, await cache.presentBytes(blob.file.etag, blob.file.bytes)] as const)))
  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, 0)
  const totalBytes = sum(blobs.map(({ file }) => file.bytes))
  await mkdir(cache.folder, { recursive: true })
  await requireSpace(cache.folder, totalBytes - sum(doneBytes.values()), environment.freeBytes ?? freeBytesOf)
  const update = (blob: Blob, bytes: number): void => {
    doneBytes.set(blob, bytes)
    if (isToBeDownloaded) progress.update(sum(doneBytes.values()))
  }
  // Whoever downloads one file of a model downloads them all: saying so once will do.
  const told = new Set<number | undefined>()
  const onWait: OnWait = holder => {
    if (!told.has(holder?.pid)) progress.note(describeWait(name, holder))
    told.add(holder?.pid)
  }
  const isToBeDownloaded = sum(doneBytes.values()) < totalBytes
  if (isToBeDownloaded) progress.begin(name, totalBytes)
  try {
    for (const stage of stages.keys()) {
      await inParallel(blobs.filter(blob => blob.stage === stage), options.signal, async (blob, signal) => {
        await downloadOne(blob, { ...options, signal }, bytes => { update(blob, bytes) }, onWait)
        update(blob, blob.file.bytes)
      })
    }
  } finally {
    if (isToBeDownloaded) progress.end()
  }
}

/** Files of the same content are one blob. */
interface Blob {
  readonly file: RepoFile
  readonly paths: string[]
  /** The first that needs it. */
  readonly stage: number
}

async function lackingBlobs (stages: ReadonlyArray<readonly RepoFile[]>, { cache, commit }: DownloadFilesOptions): Promise<Blob[]> {
  const blobs = new Map<string, Blob>()
  const lacking = new Set<Blob>()
  for (const [stage, files] of stages.entries()) {
    for (const file of files) {
      const blob = blobs.get(file.etag) ?? { file, paths: [], stage }
      blobs.set(file.etag, blob)
      blob.paths.push(file.path)
      if (!await cache.has(commit, file.path, file.bytes)) lacking.add(blob)
    }
  }
  return [...lacking]
}

async function downloadOne (blob: Blob, options: DownloadFilesOptions, onBytes: (doneBytes: number) => void, onWait: OnWait): Promise<void> {
  const { client, cache, commit, environment, progress, signal } = options
  const { file: { path, bytes, etag, isLfs }, paths } = blob
  await downloadFile({
    ...environment,
    url: client.urlOf(commit, path),
    headers: client.headers,
    destination: cache.blobPath(etag),
    partial: cache.partialPath(etag),
    expectedBytes: bytes,
    ...(isLfs ? { sha256: etag } : { gitSha1: etag }),
    signal,
    onProgress: onBytes,
    onRetry: (error, delayMs) => { progress.note(`${path}: ${error.message}; trying again in ${Math.round(delayMs / 1000)} s`) },
    onWait
  })
  await cache.link(commit, paths, etag)
}

/** Runs `work` on a few items at a time. The first failure stops the others, and is thrown when they have stopped. */
async function inParallel<Item> (items: readonly Item[], outer: AbortSignal | undefined, work: (item: Item, signal: AbortSignal) => Promise<void>): Promise<void> {
  const failed = new AbortController()
  const signal = outer === undefined ? failed.signal : AbortSignal.any([outer, failed.signal])
  const queue = items.values()
  let failure: { readonly error: unknown } | undefined
  await Promise.all(Array.from({ length: Math.min(PARALLEL_FILES, items.length) }, async () => {
    for (const item of queue) {
      if (failure !== undefined) return
      try {
        await work(item, signal)
      } catch (error) {
        failure ??= { error }
        failed.abort()
      }
    }
  }))
  if (failure !== undefined) throw failure.error
}
