import type { TokenId } from '@daybreak/kvcache'

/** Generated tokens stay below this, so that tests may give the ids above it a meaning. */
export const NUM_GENERATED_TOKENS = 600

/** The fake model: the next token depends on every token before it and on the seed, so that one wrong token changes all that follow. */
export function nextToken (tokens: readonly TokenId[], seed: number): TokenId {
  let hash = 0x811c9dc5 ^ seed
  for (const token of tokens) hash = Math.imul(hash ^ token, 0x01000193) >>> 0
  return ((hash ^ hash >>> 15) >>> 0) % NUM_GENERATED_TOKENS
}

/** What the fake model generates when nothing goes wrong. */
export function continuation (promptTokens: readonly TokenId[], numTokens: number, seed: number): TokenId[] {
  const tokens = [...promptTokens]
  for (let i = 0; i < numTokens; i++) tokens.push(nextToken(tokens, seed))
  return tokens.slice(promptTokens.length)
}
