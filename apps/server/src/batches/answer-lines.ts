import { setMaxListeners } from 'node:events'
import type { BatchResults } from './batch-results.ts'
import { parseLine } from './check-input.ts'
import type { BatchLine } from './check-input.ts'
import { inTurn } from './event-loop-turns.ts'
import { LineReader } from './input-lines.ts'
import { orderLines } from './line-order.ts'
import type { OrderedLine } from './line-order.ts'
import type { LineRunner } from './line-runner.ts'

export interface LinesToAnswer {
  /** Whose places the lines take; distinguishes this batch's groups from those of others. */
  readonly batchId: string
  readonly endpoint: string
  readonly path: string
  readonly lines: readonly BatchLine[]
  readonly results: BatchResults
  readonly runner: LineRunner
  /** Prompt tokens that are looked at together for what they share. */
  readonly maxTokensTogether: number
  readonly onAnswer: () => void
}

/**
 * Answers those lines that have no answer yet, in the order that takes the least work.
 * @param stop aborted: no more lines are answered; what is being written is written when this returns. What goes wrong with one line
 *   aborts it for all.
 * @throws the abort's reason, what reading and writing throw (rejects)
 */
export async function answerLines (work: LinesToAnswer, stop: AbortController): Promise<void> {
  const { batchId, endpoint, lines, path, results, runner, maxTokensTogether } = work
  // One for each request in flight.
  setMaxListeners(Number.POSITIVE_INFINITY, stop.signal)
  await using reader = await LineReader.open(path)
  await runner.ready(stop.signal)
  const ordered = orderLines(lines.filter(line => !results.isAnswered(line)), {
    batchId,
    maxTokensTogether,
    blockSize: runner.blockSize ?? 1,
    promptOf: async line => {
      stop.signal.throwIfAborted()
      return await runner.promptOf(endpoint, await bodyOf(line, reader))
    }
  })
  // They share one iterator: whoever is free takes the next line. All the places may be theirs while no other batch wants any.
  const ends = await Promise.allSettled(Array.from({ length: runner.numAtOnce }, async () => { await takeLines(ordered, reader, work, stop) }))
  // Only now, with the last of them: an answer that is still being written would else come behind the count of those that there are.
  for (const end of ends) if (end.status === 'rejected') throw stop.signal.reason
}

async function takeLines (ordered: AsyncGenerator<OrderedLine>, reader: LineReader, { batchId, endpoint, runner, results, onAnswer }: LinesToAnswer, stop: AbortController): Promise<void> {
  try {
    for (let next = await ordered.next(); next.done !== true; next = await ordered.next()) {
      const { line, prefixGroup } = next.value
      // Only a line that is there to be answered waits for a place: none is kept from the others while prompts are looked at.
      await runner.places.run(batchId, stop.signal, async () => {
        await results.add(line, await runner.answer(endpoint, await bodyOf(line, reader), prefixGroup, stop.signal))
      })
      onAnswer()
    }
  } catch (error) {
    stop.abort(error)
    throw error
  }
}

async function bodyOf (line: BatchLine, reader: LineReader): Promise<unknown> {
  const text = await reader.read(line)
  return await inTurn(() => parseLine(text).body)
}
