import { z } from 'zod'
import type { BatchLine } from '../batches/check-input.ts'
import type { OrderedLine } from '../batches/line-order.ts'
import { ResultLog } from '../batches/result-log.ts'

/** Lines that one worker answers. */
export interface Chunk {
  readonly id: number
  readonly lines: readonly OrderedLine[]
}

/** `[number of the line, its group, the group's length]`, or the number alone. */
const plannedLine = z.union([z.tuple([z.int()]), z.tuple([z.int(), z.string(), z.int()])])
const plannedChunk = z.object({ id: z.int().min(0), lines: z.array(plannedLine) })
type PlannedChunk = z.infer<typeof plannedChunk>

/**
 * Which lines each chunk of a batch has, on disk before the chunk is in the queue: after the end of the process the chunks that wait in
 * the queue, or that workers have, are still the same ones, and no prompt is looked at again.
 */
export class ChunkPlan implements AsyncDisposable {
  /** Chunks that an earlier process made. */
  readonly earlier: readonly Chunk[]
  readonly #log: ResultLog<PlannedChunk>
  readonly #numbers: ReadonlySet<number>
  #nextId: number

  private constructor (log: ResultLog<PlannedChunk>, earlier: readonly Chunk[]) {
    this.earlier = earlier
    this.#log = log
    this.#numbers = new Set(earlier.flatMap(({ lines }) => lines.map(({ line }) => line.number)))
    this.#nextId = 1 + earlier.reduce((most, { id }) => Math.max(most, id), -1)
  }

  static async open (path: string, lines: readonly BatchLine[]): Promise<ChunkPlan> {
    const byNumber = new Map(lines.map(line => [line.number, line]))
    const earlier: Chunk[] = []
    const log = await ResultLog.open<PlannedChunk>(path, entry => {
      const planned = plannedChunk.safeParse(entry).data
      if (planned !== undefined) earlier.push({ id: planned.id, lines: planned.lines.flatMap(line => orderedLine(line, byNumber)) })
    })
    return new ChunkPlan(log, earlier)
  }

  /** Whether a line is in one of the earlier chunks. */
  has ({ number }: BatchLine): boolean {
    return this.#numbers.has(number)
  }

  /** A new chunk. Rejects when it cannot be written, and then there is none. */
  async add (lines: readonly OrderedLine[]): Promise<Chunk> {
    const id = this.#nextId++
    await this.#log.append({ id, lines: lines.map(({ line: { number }, prefixGroup }) => prefixGroup === undefined ? [number] : [number, prefixGroup.id, prefixGroup.length]) })
    return { id, lines }
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#log[Symbol.asyncDispose]()
  }
}

function orderedLine ([number, id, length]: PlannedChunk['lines'][number], byNumber: ReadonlyMap<number, BatchLine>): OrderedLine[] {
  const line = byNumber.get(number)
  if (line === undefined) return []
  return [{ line, prefixGroup: id === undefined || length === undefined ? undefined : { id, length } }]
}
