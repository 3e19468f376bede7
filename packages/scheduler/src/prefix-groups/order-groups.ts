import type { PrefixGroup } from './group-by-prefix.ts'

/** What a prompt will cost. */
export interface PromptWork {
  readonly promptTokens: number
  /** Tokens it is expected to generate. */
  readonly outputTokens: number
}

/**
 * Groups in the order to run them: those first that generate most for what their prompts cost, so that there are decodes beside
 * every later prefill and no step is left half full at the end.
 * @param works by the index of the prompt
 * @see BatchLLM (arXiv 2412.03594), reordering
 */
export function orderGroups (groups: readonly PrefixGroup[], works: readonly PromptWork[]): PrefixGroup[] {
  const rated = groups.map(group => ({ group, ratio: decodeShare(group, works) }))
  return rated.sort((a, b) => b.ratio - a.ratio).map(({ group }) => group)
}

function decodeShare ({ prefixLength, members }: PrefixGroup, works: readonly PromptWork[]): number {
  let prefill = prefixLength
  let decode = 0
  for (const member of members) {
    const { promptTokens, outputTokens } = works[member] ?? { promptTokens: 0, outputTokens: 0 }
    prefill += promptTokens - prefixLength
    decode += outputTokens
  }
  return decode / Math.max(1, prefill)
}
