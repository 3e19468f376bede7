/**
 * What things are called in Redis. The version of the messages is in the queue's name: servers of two versions beside each other do not
 * read each other's.
 */

/** Before every key. */
export const KEY_PREFIX = 'daybreak'

const MESSAGE_VERSION = 1

/** The queue of a model's chunks. BullMQ has colons for itself. */
export function queueName (model: string): string {
  return `v${MESSAGE_VERSION}-${encodeURIComponent(model)}`
}

export function jobId (batchId: string, chunkId: number): string {
  return `${batchId}-${chunkId}`
}

/** The keys of one batch; one hash tag, so that a script may use all of them. */
export interface BatchKeys {
  /** There while the batch's owner wants answers. */
  readonly open: string
  /** A bit for each line, by its number: an answer has been sent. */
  readonly answered: string
  /** A stream of answers on their way to the owner. */
  readonly answers: string
}

export function batchKeys (batchId: string): BatchKeys {
  const of = (what: string): string => `${KEY_PREFIX}:{${batchId}}:${what}`
  return { open: of('open'), answered: of('answered'), answers: of('answers') }
}
