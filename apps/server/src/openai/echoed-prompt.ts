import type { ScoredToken } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import type { TextService } from '../text/text-service.ts'
import { countCodePoints } from './logprobs.ts'
import type { LogprobEntry } from './logprobs.ts'

/**
 * An echoed prompt's tokens with their log-probabilities. `scores[i]` is of `tokens[i + 1]`: nothing predicts the first.
 */
export function echoedPrompt (tokens: readonly TokenId[], scores: readonly ScoredToken[], text: TextService): LogprobEntry[] {
  const detokenizer = text.detokenizer({ skipSpecialTokens: false })
  let textOffset = 0
  return tokens.map((token, i) => {
    const score = i === 0 ? undefined : scores[i - 1]
    const entry = { token, logprob: score?.logprob ?? null, top: score?.topLogprobs ?? [], textOffset }
    textOffset += countCodePoints(detokenizer.push(token))
    return entry
  })
}
