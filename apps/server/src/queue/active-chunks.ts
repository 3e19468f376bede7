/** Why the work on a chunk stops before its last line. */
export type ChunkStopReason = 'batch-ended' | 'lease-lost' | 'shutdown'

/** Thrown by what was being done for a chunk. */
export class ChunkStop extends Error {
  override readonly name = 'ChunkStop'
  readonly reason: ChunkStopReason

  constructor (reason: ChunkStopReason) {
    super(`the work on a chunk stops: ${reason}`)
    this.reason = reason
  }
}

interface ActiveChunk {
  readonly job: string
  readonly batch: string
  readonly stop: AbortController
}

/** The chunks that one worker has. */
export class ActiveChunks {
  readonly #chunks = new Set<ActiveChunk>()

  get size (): number { return this.#chunks.size }

  get batches (): ReadonlySet<string> {
    return new Set([...this.#chunks].map(({ batch }) => batch))
  }

  /** Until disposed of. */
  enter (chunk: ActiveChunk): Disposable {
    this.#chunks.add(chunk)
    return { [Symbol.dispose]: () => { this.#chunks.delete(chunk) } }
  }

  batchEnded (batch: string): void {
    this.#stop('batch-ended', chunk => chunk.batch === batch)
  }

  leaseLost (job: string): void {
    this.#stop('lease-lost', chunk => chunk.job === job)
  }

  shutdown (): void {
    this.#stop('shutdown', () => true)
  }

  #stop (reason: ChunkStopReason, isMeant: (chunk: ActiveChunk) => boolean): void {
    for (const chunk of this.#chunks) if (isMeant(chunk)) chunk.stop.abort(new ChunkStop(reason))
  }
}
