import { groupByPrefixInTurns, orderGroups } from '@daybreak/scheduler'
import type { PrefixGroupMembership, PromptWork } from '@daybreak/scheduler'
import type { BatchLine } from './check-input.ts'
import { inTurn } from './event-loop-turns.ts'

/** A line's prompt, as far as grouping needs it. */
export interface LinePrompt {
  readonly tokens: Int32Array
  /** Tokens it is expected to generate. */
  readonly outputTokens: number
}

export interface OrderedLine {
  readonly line: BatchLine
  readonly prefixGroup: PrefixGroupMembership | undefined
}

export interface LineOrderOptions {
  /** Distinguishes this batch's groups from those of others. */
  readonly batchId: string
  /** Undefined for a line that has no one prompt: several, or none that can be had. */
  readonly promptOf: (line: BatchLine) => Promise<LinePrompt | undefined>
  readonly blockSize: number
  /** Prompt tokens that are looked at together; 4 bytes of memory each. A longer batch is ordered in as many parts. */
  readonly maxTokensTogether: number
}

/** Lines read and tokenised at the same time. */
const PARALLEL_LINES = 4

/**
 * The lines in the order in which they take the least work: those that begin alike together, as one group, and groups that generate
 * much for what they cost first.
 */
export async function * orderLines (lines: readonly BatchLine[], options: LineOrderOptions): AsyncGenerator<OrderedLine> {
  let part: Array<{ readonly line: BatchLine, readonly prompt: LinePrompt | undefined }> = []
  let numTokens = 0
  for (let first = 0; first < lines.length; first += PARALLEL_LINES) {
    const some = await Promise.all(lines.slice(first, first + PARALLEL_LINES).map(async line => ({ line, prompt: await options.promptOf(line) })))
    part.push(...some)
    numTokens += some.reduce((sum, { prompt }) => sum + (prompt?.tokens.length ?? 0), 0)
    if (numTokens < options.maxTokensTogether) continue
    const ordered = await orderPart(part, options)
    // While these lines are answered, which may take hours, their prompts are nobody's memory.
    part = []
    numTokens = 0
    yield * ordered
  }
  const ordered = await orderPart(part, options)
  part = []
  yield * ordered
}

async function orderPart (part: ReadonlyArray<{ readonly line: BatchLine, readonly prompt: LinePrompt | undefined }>, { batchId, blockSize }: LineOrderOptions): Promise<OrderedLine[]> {
  const prompts = part.map(({ prompt }) => prompt?.tokens ?? new Int32Array(0))
  const works = part.map(({ prompt }): PromptWork => ({ promptTokens: prompt?.tokens.length ?? 0, outputTokens: prompt?.outputTokens ?? 0 }))
  const groups = await groupByPrefixInTurns(prompts, blockSize, async () => { await inTurn(() => {}) })
  return orderGroups(groups, works).flatMap(({ prefixLength, members }) => {
    const lines = members.flatMap(member => part[member]?.line ?? [])
    const [first] = lines
    const prefixGroup = prefixLength === 0 || first === undefined ? undefined : { id: `${batchId}/${first.number}`, length: prefixLength }
    return lines.map(line => ({ line, prefixGroup }))
  })
}
