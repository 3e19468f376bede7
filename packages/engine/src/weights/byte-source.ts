import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { InvalidCheckpointError } from '../errors.ts'

/** Bytes of known length that can be read at any position: a file, or a test's array. */
export interface ByteSource {
  /** For error messages. */
  readonly name: string
  readonly byteLength: number
  /**
   * Fills all of `into` with the bytes from `position` on. Calls may overlap.
   * @throws InvalidCheckpointError (rejects) when they reach past the end
   */
  read (into: Uint8Array, position: number): Promise<void>
}

/** A file opened for reading; disposing it closes the handle. */
export class FileSource implements ByteSource, AsyncDisposable {
  readonly name: string
  readonly byteLength: number
  readonly #file: FileHandle

  private constructor (name: string, byteLength: number, file: FileHandle) {
    this.name = name
    this.byteLength = byteLength
    this.#file = file
  }

  /** @throws InvalidCheckpointError when the path is no readable file */
  static async open (path: string): Promise<FileSource> {
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new InvalidCheckpointError(path, 'cannot be opened', { cause })
    })
    try {
      const stat = await file.stat()
      if (!stat.isFile()) throw new InvalidCheckpointError(path, 'is not a file')
      return new FileSource(path, stat.size, file)
    } catch (cause) {
      await file.close()
      throw cause
    }
  }

  async read (into: Uint8Array, position: number): Promise<void> {
    for (let filled = 0; filled < into.byteLength;) {
      const { bytesRead } = await this.#file.read(into, filled, into.byteLength - filled, position + filled)
      // The length was right when the file was opened: it shrank since.
      if (bytesRead === 0) throw new InvalidCheckpointError(this.name, `ends at byte ${position + filled}, while it is being read`)
      filled += bytesRead
    }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#file.close()
  }
}
