const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d

/**
 * Takes a server-sent event stream apart as its bytes arrive, and hands on the data of each event. Lines end in LF or CRLF;
 * comments and fields other than `data` are skipped. Only whole lines are decoded, so a character may be cut anywhere.
 */
export class SseDataReader {
  readonly #onData: (data: string) => void
  #rest: Uint8Array = new Uint8Array(0)
  #data: string | undefined

  constructor (onData: (data: string) => void) {
    this.#onData = onData
  }

  push (bytes: Uint8Array): void {
    const buffer = this.#rest.length === 0 ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) : Buffer.concat([this.#rest, bytes])
    let start = 0
    for (let end = buffer.indexOf(LINE_FEED, start); end !== -1; end = buffer.indexOf(LINE_FEED, start)) {
      this.#takeLine(buffer, start, end > start && buffer[end - 1] === CARRIAGE_RETURN ? end - 1 : end)
      start = end + 1
    }
    this.#rest = buffer.subarray(start)
  }

  #takeLine (buffer: Buffer, start: number, end: number): void {
    if (start === end) {
      if (this.#data !== undefined) this.#onData(this.#data)
      this.#data = undefined
      return
    }
    const line = buffer.toString('utf8', start, end)
    if (!line.startsWith('data:')) return
    const data = line.slice(line[5] === ' ' ? 6 : 5)
    this.#data = this.#data === undefined ? data : `${this.#data}\n${data}`
  }
}
