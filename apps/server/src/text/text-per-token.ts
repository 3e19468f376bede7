/**
 * How much text one token can stand for. It bounds a text's number of tokens from below, so that a text far beyond the model's context
 * is refused before anybody tokenises it.
 */
import { z } from 'zod'
import type { TokenizerJson } from './model-files.ts'
import { byteAlphabet } from './token-bytes.ts'

const step = z.looseObject({
  type: z.string(),
  behavior: z.string().optional(),
  pattern: z.unknown().optional(),
  content: z.string().optional(),
  get normalizers () { return z.array(step).optional() },
  get pretokenizers () { return z.array(step).optional() }
})
type Step = z.infer<typeof step>

const dropping = z.looseObject({ lstrip: z.boolean().optional(), rstrip: z.boolean().optional() })
const parts = z.looseObject({
  normalizer: step.nullish(),
  pre_tokenizer: step.nullish(),
  truncation: z.unknown().optional(),
  model: z.looseObject({ type: z.string().nullish(), merges: z.unknown().optional(), fuse_unk: z.boolean().nullish(), byte_fallback: z.boolean().nullish() })
})

/**
 * Most bytes of UTF-8 that end in one token. `Infinity` where the tokenizer may drop text, or make one unknown token of any length of it:
 * only steps that are known to do neither count.
 * @param spellings the vocabulary's tokens, as they are spelled in it
 */
export function maxBytesPerToken (tokenizer: TokenizerJson, spellings: Iterable<string>): number {
  const parsed = parts.safeParse(tokenizer)
  if (!parsed.success) return Infinity
  const { normalizer, pre_tokenizer: preTokenizer, truncation, model } = parsed.data
  if (truncation !== undefined && truncation !== null) return Infinity
  if (tokenizer.added_tokens.some(token => strips(token))) return Infinity
  const preTokenizers = flatten(preTokenizer)
  if (!preTokenizers.every(keepsText)) return Infinity
  const vocabulary = new Set(spellings)
  const byteLevel = preTokenizers.some(({ type }) => type === 'ByteLevel')
  if (!knowsEveryText(byteLevel, model, vocabulary)) return Infinity
  const shrinkage = flatten(normalizer).reduce((product, one) => product * shrinkageOf(one), 1)
  // An unknown character is a token of its own.
  let longest = 4
  for (const spelling of vocabulary) {
    longest = Math.max(longest, Buffer.byteLength(spelling))
  }
  return longest * shrinkage
}

function flatten (one: Step | null | undefined): Step[] {
  if (one === null || one === undefined) return []
  return one.type === 'Sequence' ? [...(one.normalizers ?? []), ...(one.pretokenizers ?? [])].flatMap(flatten) : [one]
}

function strips (token: unknown): boolean {
  const parsed = dropping.safeParse(token)
  return !parsed.success || parsed.data.lstrip === true || parsed.data.rstrip === true
}

function keepsText ({ type, behavior }: Step): boolean {
  return ['ByteLevel', 'Metaspace', 'Digits', 'Punctuation', 'UnicodeScripts'].includes(type) ? behavior !== 'Removed' : type === 'Split' && behavior !== 'Removed'
}

/** Whether every character becomes at least one token. */
function knowsEveryText (byteLevel: boolean, model: z.infer<typeof parts>['model'], vocabulary: ReadonlySet<string>): boolean {
  // Old files do not say that they are BPE.
  if (model.type !== 'BPE' && !(typeof model.type !== 'string' && Array.isArray(model.merges))) return false
  if (byteLevel) return [...byteAlphabet().keys()].every(letter => vocabulary.has(letter))
  return model.byte_fallback === true && vocabulary.has('<0x00>') && vocabulary.has('<0xFF>')
}

/** Bytes before a normalisation over bytes after it, at most. */
function shrinkageOf ({ type, pattern, content }: Step): number {
  switch (type) {
    case 'Prepend': return 1
    // Three Hangul letters of three bytes become one syllable of three bytes; no composition saves more.
    case 'NFC': return 3
    case 'Replace': {
      const replaced = z.object({ String: z.string().min(1) }).safeParse(pattern)
      if (!replaced.success || content === undefined || content === '') return Infinity
      return Math.max(1, Buffer.byteLength(replaced.data.String) / Buffer.byteLength(content))
    }
    default: return Infinity
  }
}
