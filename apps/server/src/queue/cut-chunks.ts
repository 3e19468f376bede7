import type { OrderedLine } from '../batches/line-order.ts'
import { MOST_CHUNK_BYTES, MOST_LINES } from './messages.ts'

export interface ChunkBounds {
  /** Lines that are enough: small groups and single lines are packed up to them. */
  readonly enoughLines: number
  /** A group of no more than these is kept whole. */
  readonly mostLines: number
  /** Bytes of input, the same for both; a line that is longer is a chunk of its own. */
  readonly mostBytes: number
}

/** A chunk keeps an engine's rows busy for a while, and is little to do again. */
export const chunkBounds: ChunkBounds = { enoughLines: 64, mostLines: MOST_LINES, mostBytes: MOST_CHUNK_BYTES }

/**
 * Cuts ordered lines into chunks, each one worker's. Lines of a prefix group stay together, and with them the blocks they share; only a
 * group beyond the bounds is divided, into chunks that are full. The order stays that of the least work.
 */
export async function * cutChunks (ordered: AsyncIterable<OrderedLine>, { enoughLines, mostLines, mostBytes }: ChunkBounds): AsyncGenerator<readonly OrderedLine[]> {
  let chunk: OrderedLine[] = []
  for await (const run of runs(ordered)) {
    if (chunk.length > 0 && (chunk.length + run.length > enoughLines || bytesOf(chunk) + bytesOf(run) > mostBytes)) {
      yield chunk
      chunk = []
    }
    if (run.length <= mostLines && bytesOf(run) <= mostBytes) {
      chunk.push(...run)
      continue
    }
    yield * divided(run, mostLines, mostBytes)
  }
  if (chunk.length > 0) yield chunk
}

/** Lines of one group, and lines of none by themselves. */
async function * runs (ordered: AsyncIterable<OrderedLine>): AsyncGenerator<readonly OrderedLine[]> {
  let run: OrderedLine[] = []
  for await (const line of ordered) {
    const [first] = run
    if (first !== undefined && (line.prefixGroup === undefined || line.prefixGroup.id !== first.prefixGroup?.id)) {
      yield run
      run = []
    }
    run.push(line)
  }
  if (run.length > 0) yield run
}

function * divided (run: readonly OrderedLine[], mostLines: number, mostBytes: number): Generator<readonly OrderedLine[]> {
  let part: OrderedLine[] = []
  let numBytes = 0
  for (const line of run) {
    if (part.length > 0 && (part.length === mostLines || numBytes + line.line.length > mostBytes)) {
      yield part
      part = []
      numBytes = 0
    }
    part.push(line)
    numBytes += line.line.length
  }
  yield part
}

function bytesOf (lines: readonly OrderedLine[]): number {
  return lines.reduce((sum, { line }) => sum + line.length, 0)
}
