import type { FamilyGreedy, FamilyLogits, FamilyRecording } from '../../fixtures/families/read-family.ts'

/** Cases of a recording that one engine, opened for a longest context, can be held to. */
export interface FamilyCases {
  readonly maxModelLen: number
  readonly logits: readonly FamilyLogits[]
  readonly greedy: readonly FamilyGreedy[]
}

const TRAINED_CONTEXT = 64
const WHOLE_CONTEXT = 256

/**
 * Two rotary scalings depend on the length. transformers looks at each forward's own, so that cached keys were turned otherwise than
 * later ones; Daybreak decides once, by the longest context allowed. Where both mean the same, they are compared: prompts within the
 * trained context on an engine limited to it, longer ones on an engine for long contexts (LongRoPE) or for exactly theirs (dynamic).
 * Left out is the one case that crosses the border while it generates.
 */
export function familyCases (name: string, { logits, greedy }: FamilyRecording): readonly FamilyCases[] {
  const total = (given: FamilyLogits | FamilyGreedy): number => given.prompt.length + ('tokens' in given ? given.tokens.length : 0)
  if (name !== 'phi3-longrope' && name !== 'llama-dynamic') return [{ maxModelLen: WHOLE_CONTEXT, logits, greedy }]
  const within = { maxModelLen: TRAINED_CONTEXT, logits: logits.filter(given => total(given) <= TRAINED_CONTEXT), greedy: greedy.filter(given => total(given) <= TRAINED_CONTEXT) }
  const beyond = logits.filter(given => total(given) > TRAINED_CONTEXT)
  if (name === 'phi3-longrope') return [within, { maxModelLen: WHOLE_CONTEXT, logits: beyond, greedy: [] }]
  return [within, ...beyond.map(given => ({ maxModelLen: total(given), logits: [given], greedy: [] }))]
}
