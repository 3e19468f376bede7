/** There is no Redis to work with where the queue should be. */
export class QueueUnreachableError extends Error {
  override readonly name = 'QueueUnreachableError'
  readonly code = 'QUEUE_UNREACHABLE'
  /** Without credentials. */
  readonly details: { readonly queue: string, readonly reason: string }

  constructor (details: QueueUnreachableError['details'], options?: ErrorOptions) {
    super(`the queue at ${details.queue} cannot be used (${details.reason}): start a Redis there, correct --queue, or leave it out to answer batches on this machine alone`, options)
    this.details = details
  }
}

/** The Redis that was found cannot do what the queue needs. */
export class QueueUnsupportedError extends Error {
  override readonly name = 'QueueUnsupportedError'
  readonly code = 'QUEUE_UNSUPPORTED'
  readonly details: { readonly queue: string, readonly version: string, readonly needed: string }

  constructor (details: QueueUnsupportedError['details']) {
    super(`the queue at ${details.queue} is Redis ${details.version}; it has to be ${details.needed} or newer`)
    this.details = details
  }
}
