import { setMaxListeners } from 'node:events'
import type { LineRunner } from '../batches/line-runner.ts'
import { ChunkStop } from './active-chunks.ts'
import { BatchMailbox } from './batch-mailbox.ts'
import { encodeAnswer } from './messages.ts'
import type { ChunkMessage } from './messages.ts'
import type { QueueCounts } from './queue-counts.ts'
import type { RedisLink } from './redis-link.ts'

export interface ChunkAnswering {
  readonly link: RedisLink
  readonly runner: LineRunner
  readonly counts: QueueCounts
}

/**
 * Answers the lines of a chunk that nobody has answered yet, and sends each answer as it is found, so that the end of this process costs
 * no more than what is being generated.
 * @param stop aborted: no more lines are answered; nothing is going on when this returns. What goes wrong with one line aborts it for all
 * @throws the abort's reason (rejects)
 */
export async function answerChunk ({ batch, endpoint, lines }: ChunkMessage, { link, runner, counts }: ChunkAnswering, stop: AbortController): Promise<void> {
  const { signal } = stop
  setMaxListeners(Number.POSITIVE_INFINITY, signal)
  const mailbox = new BatchMailbox(link, batch)
  if (!await link.persist(signal, async () => await mailbox.isOpen())) throw new ChunkStop('batch-ended')
  const sent = await link.persist(signal, async () => await mailbox.sent(lines.map(({ number }) => number)))
  const answerLine = async ({ number, body, prefixGroup }: ChunkMessage['lines'][number]): Promise<void> => {
    try {
      signal.throwIfAborted()
      const text = encodeAnswer(number, await runner.answer(endpoint, body, prefixGroup, signal))
      const sending = await link.persist(signal, async () => await mailbox.send(number, text))
      if (sending === 'ended') throw new ChunkStop('batch-ended')
      if (sending === 'sent') counts.answerSent()
      else counts.answerRepeated()
    } catch (error) {
      stop.abort(error)
      throw error
    }
  }
  const ends = await Promise.allSettled(lines.filter(({ number }) => !sent.has(number)).map(async line => {
    await runner.places.run(batch, signal, async () => { await answerLine(line) })
  }))
  for (const end of ends) if (end.status === 'rejected') throw signal.reason
}
