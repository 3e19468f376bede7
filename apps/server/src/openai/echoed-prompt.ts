import type { ScoredToken } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import type { TextService } from '../text/text-service.ts'
import { countCodePoints } from './logprobs.ts'
import type { LogprobEntry } from './logprobs.ts'

/**
 * An echoed prompt's tokens with their log-probabilities. `scores[i]` is of `tokens[i + 1]`: nothing predicts the first.
 * @param echo the text shown for them: without what the tokenizer put before it, such as BOS, which then starts at 0 like what follows
 */
export function echoedPrompt (tokens: readonly TokenId[], scores: readonly ScoredToken[], echo: string, text: TextService): LogprobEntry[] {
  const detokenizer = text.detokenizer({ skipSpecialTokens: false })
  const pieces = tokens.map(token => detokenizer.push(token))
  const decoded = pieces.join('')
  let textOffset = decoded.endsWith(echo) ? -countCodePoints(decoded.slice(0, decoded.length - echo.length)) : 0
  return tokens.map((token, i) => {
    const score = i === 0 ? undefined : scores[i - 1]
    const entry = { token, logprob: score?.logprob ?? null, top: score?.topLogprobs ?? [], textOffset: Math.max(0, textOffset) }
    textOffset += countCodePoints(pieces[i] ?? '')
    return entry
  })
}
