import type { TokenId } from '@daybreak/kvcache'
import { TOKEN_TYPE, type GgufVocabulary } from './vocabulary.ts'

/** Tokens by which chat models end their turn. Most files name one end only, and often not the one of the chat. */
const TURN_ENDS = ['<|eot_id|>', '<|eom_id|>', '<|im_end|>', '<|end|>', '<|return|>', '<|call|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>',
  '<end_of_utterance>', '<EOT>', '<｜end▁of▁sentence｜>']

/** The tokens that end a generation: those that the file names, and the control tokens that are known to end a turn. */
export function endTokens (vocabulary: GgufVocabulary): TokenId[] {
  const named = ['eos', 'eot', 'eom'].flatMap(name => vocabulary.special(name)?.id ?? [])
  const control = vocabulary.tokens.filter(({ type }) => type === TOKEN_TYPE.control)
  const ends = new Set(TURN_ENDS)
  // In OpenAI's Harmony format `<|end|>` closes a message, and the turn may go on with another.
  if (['<|return|>', '<|call|>'].every(name => control.some(({ content }) => content === name))) ends.delete('<|end|>')
  return [...new Set([...named, ...control.filter(({ content }) => ends.has(content)).map(({ id }) => id)])]
}
