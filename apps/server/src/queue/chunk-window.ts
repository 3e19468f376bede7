import type { BatchLine } from '../batches/check-input.ts'
import type { Chunk } from './chunk-plan.ts'

export interface WindowBounds {
  /** Chunks of which no line is answered: those that wait, and those that have just been taken. */
  readonly leastUntouched: number
  /** Input bytes; one chunk may always be there. */
  readonly mostBytes: number
}

/** More than one worker takes at a time, and little enough for Redis's memory. */
export const windowBounds: WindowBounds = { leastUntouched: 4, mostBytes: 64 * 1024 * 1024 }

/** A chunk in the queue or with a worker, and what of it is still unanswered. */
export interface OpenChunk {
  readonly chunk: Chunk
  readonly unanswered: ReadonlyMap<number, BatchLine>
}

interface Entry extends OpenChunk {
  readonly unanswered: Map<number, BatchLine>
  readonly numBytes: number
  isTouched: boolean
}

/**
 * The chunks of one batch that are out. Only so many may wait, the same number for each batch: the queue hands out chunks in the order
 * in which they came, so that batches with equally many in it have equal shares of the workers, and a batch that comes later does not
 * wait for all that earlier ones could put there. A pure account; it knows no Redis.
 */
export class ChunkWindow {
  readonly #bounds: WindowBounds
  readonly #chunks = new Map<number, Entry>()
  readonly #chunkOfLine = new Map<number, Entry>()
  #mostUntouched: number
  #numUntouched = 0
  #numBytes = 0
  #onRoom: (() => void) | undefined

  constructor (bounds: WindowBounds) {
    this.#bounds = bounds
    this.#mostUntouched = bounds.leastUntouched
  }

  get isEmpty (): boolean { return this.#chunks.size === 0 }

  /** Oldest first. */
  get open (): readonly OpenChunk[] { return [...this.#chunks.values()] }

  get hasRoom (): boolean {
    return this.#chunks.size === 0 || (this.#numUntouched < this.#mostUntouched && this.#numBytes < this.#bounds.mostBytes)
  }

  /** Resolves when there is room for another chunk. One waits at a time. */
  async room (): Promise<void> {
    if (!this.hasRoom) await new Promise<void>(resolve => { this.#onRoom = resolve })
  }

  /**
   * As many chunks may wait as are being worked on, so that no worker finds nothing, however many there are.
   * @param numActive chunks that workers have, of all batches: what every batch's owner sees alike
   */
  follow (numActive: number): void {
    this.#mostUntouched = Math.max(this.#bounds.leastUntouched, numActive)
    this.#wake()
  }

  has (chunk: Chunk): boolean {
    return this.#chunks.has(chunk.id)
  }

  /** @param unanswered lines of it that have no answer; not none */
  add (chunk: Chunk, unanswered: readonly BatchLine[]): void {
    const entry = { chunk, unanswered: new Map(unanswered.map(line => [line.number, line])), numBytes: unanswered.reduce((sum, { length }) => sum + length, 0), isTouched: false }
    this.#chunks.set(chunk.id, entry)
    for (const line of unanswered) this.#chunkOfLine.set(line.number, entry)
    this.#numBytes += entry.numBytes
    this.#numUntouched++
  }

  /** A line has its answer. The first one of a chunk says that a worker has it, the last one that it is done: both may make room. */
  answered (number: number): void {
    const entry = this.#chunkOfLine.get(number)
    if (entry === undefined) return
    this.#chunkOfLine.delete(number)
    entry.unanswered.delete(number)
    if (!entry.isTouched) this.#numUntouched--
    entry.isTouched = true
    if (entry.unanswered.size === 0) {
      this.#chunks.delete(entry.chunk.id)
      this.#numBytes -= entry.numBytes
    }
    this.#wake()
  }

  #wake (): void {
    if (this.hasRoom) this.#onRoom?.()
  }
}
