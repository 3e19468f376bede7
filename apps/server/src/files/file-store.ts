import { createReadStream } from 'node:fs'
import type { ReadStream } from 'node:fs'
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { FileTooLargeError, isStorageFull, StorageFullError } from './errors.ts'
import type { FilePurpose, StoredFile } from './stored-file.ts'
import { syncFolder } from './sync-folder.ts'

export interface NewFile {
  readonly filename: string
  readonly purpose: FilePurpose
  /** Seconds from its making; undefined: it is kept. */
  readonly expiresAfter: number | undefined
  /** Default: a new one. */
  readonly id?: string
}

/** Content that has arrived and is not yet a file; `discard` it or `publish` it. */
export interface IncomingContent {
  readonly folder: string
  readonly bytes: number
}

const CONTENT = 'content'
const METADATA = 'file.json'
/** Folders that a process which ended may have left half made. */
const UNFINISHED = '.'

const metadata = z.object({
  id: z.string(),
  filename: z.string(),
  purpose: z.enum(['batch', 'batch_output']),
  bytes: z.int(),
  createdAt: z.int(),
  expiresAt: z.int().optional()
})

/**
 * Files on disk, one folder each, `<id>/content` beside `<id>/file.json`. A folder gets its name when all in it is written, so that a
 * process that dies leaves whole files and none else. One process at a time may have a store open.
 */
export class FileStore {
  readonly #folder: string
  readonly #now: () => number
  readonly #files: Map<string, StoredFile>

  private constructor (folder: string, now: () => number, files: Map<string, StoredFile>) {
    this.#folder = folder
    this.#now = now
    this.#files = files
  }

  /**
   * Opens or makes the store, and clears away what was left unfinished.
   * @param now Unix seconds
   */
  static async open (folder: string, now: () => number): Promise<FileStore> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const files: StoredFile[] = []
    for (const name of await readdir(folder)) {
      if (name.startsWith(UNFINISHED)) await rm(join(folder, name), { recursive: true, force: true })
      else files.push(...await readMetadata(join(folder, name)))
    }
    files.sort((a, b) => a.createdAt - b.createdAt)
    return new FileStore(folder, now, new Map(files.map(file => [file.id, file])))
  }

  /** Oldest first, without those that have expired. */
  list (): StoredFile[] {
    return [...this.#files.values()].filter(file => !this.#isExpired(file))
  }

  get (id: string): StoredFile | undefined {
    const file = this.#files.get(id)
    return file === undefined || this.#isExpired(file) ? undefined : file
  }

  /** The content's place on disk. It stays readable for whoever has opened it, also when the file is deleted. */
  contentPath ({ id }: StoredFile): string {
    return join(this.#folder, id, CONTENT)
  }

  read (file: StoredFile): ReadStream {
    return createReadStream(this.contentPath(file))
  }

  /**
   * Writes content to disk as it comes.
   * @throws FileTooLargeError, StorageFullError and what the source throws (rejects), with nothing kept
   */
  async receive (source: AsyncIterable<Uint8Array>, limitBytes: number): Promise<IncomingContent> {
    const folder = await this.#unfinished()
    let bytes = 0
    try {
      await using content = await open(join(folder, CONTENT), 'wx', 0o600)
      for await (const chunk of source) {
        bytes += chunk.length
        if (bytes > limitBytes) throw new FileTooLargeError({ limitBytes })
        await content.writeFile(chunk)
      }
      await content.sync()
    } catch (cause) {
      await this.discard({ folder, bytes })
      throw this.#explain(cause)
    }
    return { folder, bytes }
  }

  /** Takes in a file of this disk, which stays where it is and must not change any more. @throws StorageFullError (rejects) */
  async include (path: string): Promise<IncomingContent> {
    const folder = await this.#unfinished()
    const content = join(folder, CONTENT)
    try {
      // Where a disk knows no second name for a file.
      await link(path, content).catch(async () => { await copyFile(path, content) })
      const { size } = await stat(content)
      return { folder, bytes: size }
    } catch (cause) {
      await this.discard({ folder, bytes: 0 })
      throw this.#explain(cause)
    }
  }

  async discard ({ folder }: IncomingContent): Promise<void> {
    await rm(folder, { recursive: true, force: true })
  }

  /**
   * Makes a file of content that has arrived. Resolves when no end of this process, or of the machine, loses it any more.
   * @throws StorageFullError, what writing throws (rejects), with nothing kept; what a disk throws that has it and does not know whether for good
   */
  async publish (content: IncomingContent, { id = newFileId(), filename, purpose, expiresAfter }: NewFile): Promise<StoredFile> {
    const createdAt = this.#now()
    const file: StoredFile = { id, filename, purpose, bytes: content.bytes, createdAt, expiresAt: expiresAfter === undefined ? undefined : createdAt + expiresAfter }
    try {
      await writeFile(join(content.folder, METADATA), JSON.stringify(file), { mode: 0o600, flush: true })
      await syncFolder(content.folder)
      await rename(content.folder, join(this.#folder, id))
    } catch (cause) {
      await this.discard(content)
      throw this.#explain(cause)
    }
    this.#files.set(id, file)
    await syncFolder(this.#folder)
    return file
  }

  /** @returns false when there is no such file */
  async delete (id: string): Promise<boolean> {
    const file = this.get(id)
    if (file === undefined) return false
    await this.#remove(file)
    return true
  }

  /** Deletes what has expired. */
  async sweep (): Promise<void> {
    for (const file of [...this.#files.values()]) if (this.#isExpired(file)) await this.#remove(file)
  }

  async #remove ({ id }: StoredFile): Promise<void> {
    if (!this.#files.delete(id)) return
    // In one move, so that no half of a file is ever found.
    const aside = join(this.#folder, `${UNFINISHED}${randomUUID()}`)
    await rename(join(this.#folder, id), aside)
    await rm(aside, { recursive: true, force: true })
  }

  async #unfinished (): Promise<string> {
    const folder = join(this.#folder, `${UNFINISHED}${randomUUID()}`)
    try {
      await mkdir(folder, { mode: 0o700 })
    } catch (cause) {
      throw this.#explain(cause)
    }
    return folder
  }

  #isExpired ({ expiresAt }: StoredFile): boolean {
    return expiresAt !== undefined && expiresAt <= this.#now()
  }

  #explain (cause: unknown): unknown {
    return isStorageFull(cause) ? new StorageFullError({ folder: this.#folder }, { cause }) : cause
  }
}

export function newFileId (): string {
  return `file-${randomUUID().replaceAll('-', '')}`
}

/** Nothing for a folder that is no file of ours. */
async function readMetadata (folder: string): Promise<StoredFile[]> {
  try {
    const { expiresAt, ...file } = metadata.parse(JSON.parse(await readFile(join(folder, METADATA), 'utf8')))
    return [{ ...file, expiresAt }]
  } catch {
    return []
  }
}
