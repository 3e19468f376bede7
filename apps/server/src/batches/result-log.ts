import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { inputLines } from './input-lines.ts'

/**
 * Results of a batch's requests, a line of JSON each, as clients download them: appended whole, and read back after a restart. A line
 * that was cut off by the end of its process is taken away again, so that its request counts as unanswered.
 */
export class ResultLog<Result extends object> implements AsyncDisposable {
  readonly #file: FileHandle
  /** Bytes of whole lines. */
  #length: number
  #tail: Promise<void> = Promise.resolve()

  private constructor (file: FileHandle, length: number) {
    this.#file = file
    this.#length = length
  }

  /** @param onResult called with each result that is there already */
  static async open<Result extends object> (path: string, onResult: (result: Result) => void): Promise<ResultLog<Result>> {
    const file = await open(path, 'a+', 0o600)
    let length = 0
    const { size } = await file.stat()
    for await (const line of inputLines(path, Number.MAX_SAFE_INTEGER)) {
      const result = line.offset + line.length === size ? undefined : parsed<Result>(line.text ?? '')
      if (result === undefined) break
      onResult(result)
      length = line.offset + line.length + 1
    }
    if (length < size) await file.truncate(length)
    return new ResultLog(file, length)
  }

  /** Resolves when the system has it: no end of this process loses it any more. Rejects with nothing written, on a full disk for example. */
  async append (result: Result): Promise<void> {
    const written = this.#tail.then(async () => { await this.#write(Buffer.from(`${JSON.stringify(result)}\n`)) })
    this.#tail = written.catch(() => {})
    await written
  }

  /** Resolves when the disk has all of it. */
  async sync (): Promise<void> {
    await this.#tail
    await this.#file.sync()
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#tail
    await this.#file.close()
  }

  async #write (line: Buffer): Promise<void> {
    try {
      await this.#file.appendFile(line)
    } catch (cause) {
      await this.#file.truncate(this.#length)
      throw cause
    }
    this.#length += line.length
  }
}

/** Undefined for what is no line of ours: a disk that lost its power may leave anything. */
function parsed<Result> (text: string): Result | undefined {
  try {
    return JSON.parse(text) as Result
  } catch {
    return undefined
  }
}
