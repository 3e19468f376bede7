import { InvalidCheckpointError } from '../../errors.ts'
import type { ByteSource } from '../byte-source.ts'

// The largest published headers, with a quarter of a million tokens and their merges, have some tens of megabytes.
const MAX_HEADER_BYTES = 256 << 20
const PIECE_BYTES = 1 << 20

/**
 * Reads a header from front to back through a buffer: `fill` what comes next, then take it without waiting. Nothing is read or
 * allocated beyond the file's end or the largest header allowed; what would leave them is refused with its position.
 */
export class HeaderCursor {
  readonly #source: ByteSource
  readonly #limit: number
  #buffer = new Uint8Array(0)
  #view = new DataView(this.#buffer.buffer)
  /** Position in the file of the buffer's first byte. */
  #start = 0
  /** Bytes of the buffer that hold the file's. */
  #held = 0
  #at = 0

  constructor (source: ByteSource) {
    this.#source = source
    this.#limit = Math.min(source.byteLength, MAX_HEADER_BYTES)
  }

  /** Of the next byte, in the file. */
  get position (): number {
    return this.#start + this.#at
  }

  /** Bytes that may still follow. */
  get numRemaining (): number {
    return this.#limit - this.position
  }

  /** Whether the next bytes can be taken without another `fill`. */
  holds (numBytes: number): boolean {
    return this.#held - this.#at >= numBytes
  }

  /** @throws InvalidCheckpointError when fewer than `numBytes` follow */
  async fill (numBytes: number, what: string): Promise<void> {
    if (this.holds(numBytes)) return
    if (numBytes > this.numRemaining) this.#refuseEnd(numBytes, what)
    const rest = this.#buffer.subarray(this.#at, this.#held)
    const wanted = Math.min(this.numRemaining, Math.max(numBytes, PIECE_BYTES))
    const next = this.#buffer.byteLength >= wanted ? this.#buffer : new Uint8Array(wanted)
    next.set(rest)
    this.#start += this.#at
    this.#at = 0
    this.#held = wanted
    this.#buffer = next
    this.#view = new DataView(next.buffer)
    await this.#source.read(next.subarray(rest.byteLength, wanted), this.#start + rest.byteLength)
  }

  /** Fills all of `target`, past the buffer where it can. @throws InvalidCheckpointError when fewer bytes follow */
  async readInto (target: Uint8Array, what: string): Promise<void> {
    if (target.byteLength > this.numRemaining) this.#refuseEnd(target.byteLength, what)
    const held = Math.min(target.byteLength, this.#held - this.#at)
    target.set(this.#buffer.subarray(this.#at, this.#at + held))
    if (held < target.byteLength) await this.#source.read(target.subarray(held), this.position + held)
    if (held === target.byteLength) this.#at += held
    else this.#jump(this.position + target.byteLength)
  }

  /** The next bytes, filled before; valid until the next `fill`. */
  take (numBytes: number): Uint8Array {
    this.#at += numBytes
    return this.#buffer.subarray(this.#at - numBytes, this.#at)
  }

  /** The next bytes as text, whatever they are: what is not UTF-8 becomes U+FFFD. */
  takeText (numBytes: number): string {
    this.#at += numBytes
    return Buffer.from(this.#buffer.buffer, this.#at - numBytes, numBytes).toString('utf8')
  }

  takeUint8 (): number { return this.#view.getUint8(this.#advance(1)) }
  takeInt8 (): number { return this.#view.getInt8(this.#advance(1)) }
  takeUint16 (): number { return this.#view.getUint16(this.#advance(2), true) }
  takeInt16 (): number { return this.#view.getInt16(this.#advance(2), true) }
  takeUint32 (): number { return this.#view.getUint32(this.#advance(4), true) }
  takeInt32 (): number { return this.#view.getInt32(this.#advance(4), true) }
  takeFloat32 (): number { return this.#view.getFloat32(this.#advance(4), true) }
  takeFloat64 (): number { return this.#view.getFloat64(this.#advance(8), true) }

  /** @throws InvalidCheckpointError when it is beyond the integers a double counts exactly */
  takeUint64 (what: string): number {
    return this.#safe(this.#view.getBigUint64(this.#advance(8), true), what)
  }

  takeInt64 (what: string): number {
    return this.#safe(this.#view.getBigInt64(this.#advance(8), true), what)
  }

  /** @param at position of what is wrong, where it is not the next byte */
  refuse (problem: string, at: { readonly position?: number, readonly tensor?: string } = {}): never {
    const { position = this.position, tensor } = at
    throw new InvalidCheckpointError(this.#source.name, `at byte ${position}: ${problem}`, tensor === undefined ? {} : { tensor })
  }

  #safe (value: bigint, what: string): number {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : this.refuse(`${what} is ${value}, which is too large to count`, { position: this.position - 8 })
  }

  #advance (numBytes: number): number {
    this.#at += numBytes
    return this.#at - numBytes
  }

  #jump (position: number): void {
    this.#start = position
    this.#at = 0
    this.#held = 0
  }

  #refuseEnd (numBytes: number, what: string): never {
    if (this.#limit < this.#source.byteLength) this.refuse(`${what} takes the header past ${MAX_HEADER_BYTES} bytes, the most allowed`)
    return this.refuse(`${what} needs ${numBytes} bytes; the file ends after ${this.numRemaining}`)
  }
}
