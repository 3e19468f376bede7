import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DiskFullError } from './errors.ts'

/** What a finished file must have, as lower-case hex. `git-sha1` is the name git gives its content as a blob; it includes the length. */
export type ExpectedDigest =
  | { readonly algorithm: 'sha256' | 'sha512', readonly hex: string }
  | { readonly algorithm: 'git-sha1', readonly hex: string, readonly bytes: number }

/** A file that is still arriving: its bytes so far, and their hash, which survives a restart because it is made again from the file. */
export class PartialFile {
  readonly #path: string
  readonly #file: FileHandle
  readonly #digest: ExpectedDigest | undefined
  #hash: Hash | undefined
  #size: number

  private constructor (path: string, file: FileHandle, digest: ExpectedDigest | undefined) {
    this.#path = path
    this.#file = file
    this.#digest = digest
    this.#hash = emptyHash(digest)
    this.#size = 0
  }

  /** Opens what an earlier try left at `path`, which is read for its hash, or an empty file. The caller closes it. @param signal ends the reading */
  static async open (path: string, digest: ExpectedDigest | undefined, signal?: AbortSignal): Promise<PartialFile> {
    // Neither truncating nor appending: writes go to where the hash ends.
    const file = await open(path, 'r+').catch(async () => await open(path, 'w+'))
    const partial = new PartialFile(path, file, digest)
    try {
      await partial.#readBack(signal)
    } catch (error) {
      await file.close()
      throw error
    }
    return partial
  }

  /** Bytes so far. */
  get size (): number { return this.#size }

  /** @throws DiskFullError (rejects) */
  async write (bytes: Uint8Array): Promise<void> {
    try {
      for (let written = 0; written < bytes.byteLength;) {
        const { bytesWritten } = await this.#file.write(bytes, written, bytes.byteLength - written, this.#size + written)
        written += bytesWritten
      }
    } catch (cause) {
      const isFull = cause instanceof Error && 'code' in cause && (cause.code === 'ENOSPC' || cause.code === 'EDQUOT')
      throw isFull ? new DiskFullError({ folder: dirname(this.#path), neededBytes: undefined, freeBytes: undefined }, { cause }) : cause
    }
    this.#hash?.update(bytes)
    this.#size += bytes.byteLength
  }

  /** Forgets everything that has arrived. */
  async restart (): Promise<void> {
    await this.#file.truncate(0)
    this.#hash = emptyHash(this.#digest)
    this.#size = 0
  }

  /** The found digest if it is not the expected one. Only once, at the end. */
  differingDigest (): { readonly algorithm: string, readonly expected: string, readonly found: string } | undefined {
    if (this.#digest === undefined || this.#hash === undefined) return undefined
    const found = this.#hash.digest('hex')
    this.#hash = undefined
    const { algorithm, hex: expected } = this.#digest
    return found === expected.toLowerCase() ? undefined : { algorithm, expected, found }
  }

  /** Puts the whole file at `destination`, at once and on disk. */
  async moveTo (destination: string): Promise<void> {
    await this.#file.sync()
    await this.#file.close()
    await rename(this.#path, destination)
  }

  async remove (): Promise<void> {
    await this.#file.close()
    await rm(this.#path, { force: true })
  }

  async close (): Promise<void> { await this.#file.close() }

  async #readBack (signal: AbortSignal | undefined): Promise<void> {
    const stream = createReadStream(this.#path, { highWaterMark: 1 << 20, ...(signal !== undefined && { signal }) })
    for await (const chunk of stream) {
      if (!(chunk instanceof Uint8Array)) continue
      this.#hash?.update(chunk)
      this.#size += chunk.byteLength
    }
  }
}

function emptyHash (digest: ExpectedDigest | undefined): Hash | undefined {
  if (digest === undefined) return undefined
  if (digest.algorithm !== 'git-sha1') return createHash(digest.algorithm)
  return createHash('sha1').update(`blob ${digest.bytes}\0`)
}
