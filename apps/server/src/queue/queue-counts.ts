/** What the queue has to tell its operator; counts since the start. */
export interface QueueSnapshot {
  readonly isConnected: boolean
  /** Chunks of this server's model that no worker has, when last looked. */
  readonly chunksWaiting: number
  /** Chunks that this server works on. */
  readonly chunksActive: number
  /** Answers found here. */
  readonly answersSent: number
  /** Answers written into this server's own batches, wherever they were found. */
  readonly answersCollected: number
  /** Answers that another had already given. */
  readonly answersRepeated: number
  /** Chunks taken over from a worker that fell silent. */
  readonly chunksStalled: number
}

/** Counts for one server. */
export class QueueCounts {
  chunksWaiting = 0
  chunksActive = 0
  #answersSent = 0
  #answersCollected = 0
  #answersRepeated = 0
  #chunksStalled = 0

  answerSent (): void { this.#answersSent++ }
  answerCollected (): void { this.#answersCollected++ }
  answerRepeated (): void { this.#answersRepeated++ }
  chunkStalled (): void { this.#chunksStalled++ }

  snapshot (isConnected: boolean): QueueSnapshot {
    return {
      isConnected,
      chunksWaiting: this.chunksWaiting,
      chunksActive: this.chunksActive,
      answersSent: this.#answersSent,
      answersCollected: this.#answersCollected,
      answersRepeated: this.#answersRepeated,
      chunksStalled: this.#chunksStalled
    }
  }
}
