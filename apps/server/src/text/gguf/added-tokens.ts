/** The tokens of a GGUF vocabulary that are found in text before anything else happens to it. */
import { TOKEN_TYPE, type GgufToken, type GgufVocabulary } from './vocabulary.ts'

/** As tokenizer.json writes an added token. */
export interface AddedTokenEntry {
  readonly id: number
  readonly content: string
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
  readonly special: boolean
}

const SPECIAL_KEYS = ['bos', 'eos', 'unknown', 'padding', 'eot', 'eom']

/**
 * Control and unknown tokens are special, the user's are not. The file does not say which take white space around them: only Phi-3's
 * do, by its name, as in llama.cpp.
 */
export function addedTokens (vocabulary: GgufVocabulary): AddedTokenEntry[] {
  const isPhi3 = vocabulary.kind === 'llama' && /phi[- ]?3/i.test(vocabulary.modelName)
  const keepsSpace = new Set(['<unk>', '<s>', '<|endoftext|>'])
  const named = namedSpecial(vocabulary)
  return vocabulary.tokens
    .filter(token => isSpecial(token, named) || token.type === TOKEN_TYPE.userDefined)
    .map(token => ({
      id: token.id,
      content: token.content,
      single_word: false,
      lstrip: false,
      rstrip: isPhi3 && !keepsSpace.has(token.content),
      normalized: false,
      special: isSpecial(token, named)
    }))
}

/** Tokens that text can be made of: neither special nor the user's, nor padding of the vocabulary. */
export function textTokens (vocabulary: GgufVocabulary): readonly GgufToken[] {
  const named = namedSpecial(vocabulary)
  return vocabulary.tokens.filter(token => !isSpecial(token, named) && token.type !== TOKEN_TYPE.userDefined && token.type !== TOKEN_TYPE.unused)
}

/** Files without types say by their keys alone which tokens are special. */
function namedSpecial (vocabulary: GgufVocabulary): ReadonlySet<number> {
  if (vocabulary.tokens.some(({ type }) => type === TOKEN_TYPE.control)) return new Set()
  return new Set(SPECIAL_KEYS.flatMap(name => vocabulary.special(name)?.id ?? []))
}

function isSpecial ({ id, type }: GgufToken, named: ReadonlySet<number>): boolean {
  return type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || named.has(id)
}
