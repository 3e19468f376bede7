import { enlargeFirstLevel } from './enlarge-first-level.ts'
import { growPrefixTree, NODES_AT_A_TIME } from './prefix-tree.ts'
import type { PrefixNode, PromptTokens } from './prefix-tree.ts'

/** Prompts that begin alike, and are best computed together. */
export interface PrefixGroup {
  /** Tokens that all of them begin with; 0 for a prompt on its own. */
  readonly prefixLength: number
  /** Indices of the prompts, ascending; at least one. */
  readonly members: readonly number[]
}

export interface PrefixSavings {
  /** Tokens of all prompts together. */
  readonly logicalTokens: number
  /** Those left to compute when each group's prefix is computed once. */
  readonly computedTokens: number
}

/**
 * Splits a whole batch of prompts into groups that share one prefix each, so that as few prompt tokens as possible remain to be
 * computed. Every prompt is in exactly one group. One level of sharing, which costs about a point of what several levels would
 * save, and keeps scheduling and attention simple.
 * @param blockSize prefixes shorter than this cannot be shared in a paged KV cache: such groups come as single prompts
 * @returns in order of their first members
 * @see BatchLLM (arXiv 2412.03594), global prefix identification
 */
export function groupByPrefix (prompts: readonly PromptTokens[], blockSize: number): PrefixGroup[] {
  const grouping = growGroups(prompts, blockSize)
  for (;;) {
    const { done, value } = grouping.next()
    if (done === true) return value
  }
}

/**
 * `groupByPrefix` for where other work must not wait: tens of millions of tokens take most of a second.
 * @param turn called every fraction of a millisecond: lets the others have a turn when they have waited long enough
 */
export async function groupByPrefixInTurns (prompts: readonly PromptTokens[], blockSize: number, turn: () => Promise<void>): Promise<PrefixGroup[]> {
  const grouping = growGroups(prompts, blockSize)
  for (;;) {
    const { done, value } = grouping.next()
    if (done === true) return value
    await turn()
  }
}

function * growGroups (prompts: readonly PromptTokens[], blockSize: number): Generator<void, PrefixGroup[]> {
  const root = yield * growPrefixTree(prompts)
  yield * enlargeFirstLevel(root)
  return yield * groupsOf(root, blockSize)
}

function * groupsOf (root: PrefixNode, blockSize: number): Generator<void, PrefixGroup[]> {
  const single = (prompt: number): PrefixGroup => ({ prefixLength: 0, members: [prompt] })
  const groups = root.prompts.map(single)
  let numLeft = NODES_AT_A_TIME
  for (const child of root.children) {
    const members = promptsBelow(child)
    if (members.length > 1 && child.end >= blockSize) groups.push({ prefixLength: child.end, members })
    else groups.push(...members.map(single))
    numLeft -= members.length
    if (numLeft > 0) continue
    numLeft = NODES_AT_A_TIME
    yield
  }
  return groups.sort((a, b) => firstOf(a) - firstOf(b))
}

/** What grouping saves at best: in a paged cache, less the part of a prefix that does not fill a block. */
export function prefixSavings (groups: readonly PrefixGroup[], prompts: readonly PromptTokens[]): PrefixSavings {
  const logicalTokens = prompts.reduce((sum, { length }) => sum + length, 0)
  const shared = groups.reduce((sum, { prefixLength, members }) => sum + prefixLength * (members.length - 1), 0)
  return { logicalTokens, computedTokens: logicalTokens - shared }
}

function promptsBelow (node: PrefixNode): number[] {
  const prompts: number[] = []
  const open = [node]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const prompt of next.prompts) prompts.push(prompt)
    for (const child of next.children) open.push(child)
  }
  return prompts.sort((a, b) => a - b)
}

function firstOf ({ members: [first = 0] }: PrefixGroup): number {
  return first
}
