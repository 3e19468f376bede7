import type { BatchLine } from '../batches/check-input.ts'
import type { Chunk } from './chunk-plan.ts'

export interface WindowBounds {
  readonly mostChunks: number
  /** Input bytes; one chunk may always be there. */
  readonly mostBytes: number
}

/** Enough for dozens of workers, and little enough for Redis's memory, and for a batch that comes later to be reached. */
export const windowBounds: WindowBounds = { mostChunks: 256, mostBytes: 64 * 1024 * 1024 }

/** A chunk in the queue or with a worker, and what of it is still unanswered. */
export interface OpenChunk {
  readonly chunk: Chunk
  readonly unanswered: ReadonlyMap<number, BatchLine>
}

interface Entry extends OpenChunk {
  readonly unanswered: Map<number, BatchLine>
  readonly numBytes: number
}

/** The chunks of one batch that are out: so many at a time. A pure account; it knows no Redis. */
export class ChunkWindow {
  readonly #bounds: WindowBounds
  readonly #chunks = new Map<number, Entry>()
  readonly #chunkOfLine = new Map<number, Entry>()
  #numBytes = 0
  #onRoom: (() => void) | undefined

  constructor (bounds: WindowBounds) {
    this.#bounds = bounds
  }

  get isEmpty (): boolean { return this.#chunks.size === 0 }

  /** Oldest first. */
  get open (): readonly OpenChunk[] { return [...this.#chunks.values()] }

  get hasRoom (): boolean {
    return this.#chunks.size === 0 || (this.#chunks.size < this.#bounds.mostChunks && this.#numBytes < this.#bounds.mostBytes)
  }

  /** Resolves when there is room for another chunk. One waits at a time. */
  async room (): Promise<void> {
    if (!this.hasRoom) await new Promise<void>(resolve => { this.#onRoom = resolve })
  }

  has (chunk: Chunk): boolean {
    return this.#chunks.has(chunk.id)
  }

  /** @param unanswered lines of it that have no answer; not none */
  add (chunk: Chunk, unanswered: readonly BatchLine[]): void {
    const entry = { chunk, unanswered: new Map(unanswered.map(line => [line.number, line])), numBytes: unanswered.reduce((sum, { length }) => sum + length, 0) }
    this.#chunks.set(chunk.id, entry)
    for (const line of unanswered) this.#chunkOfLine.set(line.number, entry)
    this.#numBytes += entry.numBytes
  }

  /** A line has its answer; the last one of a chunk makes room. */
  answered (number: number): void {
    const entry = this.#chunkOfLine.get(number)
    if (entry === undefined) return
    this.#chunkOfLine.delete(number)
    entry.unanswered.delete(number)
    if (entry.unanswered.size > 0) return
    this.#chunks.delete(entry.chunk.id)
    this.#numBytes -= entry.numBytes
    if (this.hasRoom) this.#onRoom?.()
  }
}
