import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { inTurn } from './event-loop-turns.ts'

const NEWLINE = 0x0a
/** Some editors begin UTF-8 with it; it is no part of the first line. */
const BYTE_ORDER_MARK = Buffer.of(0xef, 0xbb, 0xbf)

/** Where a line of an input file lies. */
export interface LinePlace {
  /** From 1. */
  readonly number: number
  readonly offset: number
  /** Bytes, without the line's end. */
  readonly length: number
}

export interface InputLine extends LinePlace {
  /** Undefined for a line longer than allowed, which is not kept in memory. */
  readonly text: string | undefined
}

/**
 * The lines of a file that are not blank, one after the other; in memory at any time there is one, and a piece of the file. Whoever works
 * on each before it takes the next leaves the event loop its turns.
 */
export async function * inputLines (path: string, maxLineBytes: number): AsyncGenerator<InputLine> {
  let number = 0
  let offset = 0
  let length = 0
  let parts: Buffer[] = []
  const finish = (): InputLine => {
    const text = length <= maxLineBytes ? Buffer.concat(parts).toString('utf8') : undefined
    return { number, offset, length, text }
  }
  const isBlank = (line: InputLine): boolean => line.text?.trim() === ''
  const take = (bytes: Buffer): void => {
    length += bytes.length
    if (length <= maxLineBytes) parts.push(bytes)
    else parts = []
  }
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) {
    const isMarked = number === 0 && offset === 0 && length === 0 && chunk.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)
    if (isMarked) offset = BYTE_ORDER_MARK.length
    let at = isMarked ? BYTE_ORDER_MARK.length : 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, at)) {
      take(chunk.subarray(at, end))
      number++
      const line = await inTurn(finish)
      if (!isBlank(line)) yield line
      offset += length + 1
      length = 0
      parts = []
      at = end + 1
    }
    take(chunk.subarray(at))
  }
  number++
  const last = finish()
  if (length > 0 && !isBlank(last)) yield last
}

/** Reads single lines again, in any order. */
export class LineReader implements AsyncDisposable {
  readonly #file: FileHandle

  private constructor (file: FileHandle) {
    this.#file = file
  }

  static async open (path: string): Promise<LineReader> {
    return new LineReader(await open(path, 'r'))
  }

  async read ({ offset, length }: LinePlace): Promise<string> {
    const bytes = Buffer.alloc(length)
    for (let numRead = 0; numRead < length;) {
      const { bytesRead } = await this.#file.read(bytes, numRead, length - numRead, offset + numRead)
      if (bytesRead === 0) throw new Error('the input file is shorter than it was')
      numRead += bytesRead
    }
    return bytes.toString('utf8')
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#file.close()
  }
}
