/**
 * Cuts text into the pieces that no token reaches across, as the `pre_tokenizer` of a tokenizer.json says. Every step means what it means
 * in Hugging Face's Rust library; where @huggingface/tokenizers has less (the behaviours of a split, digits and white space beyond
 * ASCII), it only translates the regular expression.
 */
import { z } from 'zod'
import { BYTE_LETTERS } from './token-bytes.ts'
import { libraryRegExp } from './tokenizer-library.ts'
import { splitText, type SplitBehavior } from './tokenizer-split.ts'

const pattern = z.union([z.object({ String: z.string().min(1) }), z.object({ Regex: z.string().min(1) })])
const behavior = z.enum(['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'])

const preTokenizer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('Sequence'), get pretokenizers () { return z.array(preTokenizer) } }),
  z.object({ type: z.literal('Split'), pattern, behavior, invert: z.boolean().default(false) }),
  z.object({ type: z.literal('ByteLevel'), add_prefix_space: z.boolean().default(true), use_regex: z.boolean().default(true) }),
  z.object({
    type: z.literal('Metaspace'),
    replacement: z.string().length(1).default('▁'),
    add_prefix_space: z.boolean().optional(),
    prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
    split: z.boolean().default(true)
  }),
  z.object({ type: z.literal('Digits'), individual_digits: z.boolean().default(false) }),
  z.object({ type: z.literal('Punctuation'), behavior: behavior.default('Isolated') }),
  z.object({ type: z.literal('Whitespace') }),
  z.object({ type: z.literal('WhitespaceSplit') }),
  z.object({ type: z.literal('CharDelimiterSplit'), delimiter: z.string().min(1) }),
  z.object({ type: z.literal('BertPreTokenizer') })
])

/** GPT-2's words, which `ByteLevel` cuts unless it is told not to. */
const GPT2_WORDS = '\'s|\'t|\'re|\'ve|\'m|\'ll|\'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+'
const PUNCTUATION = '[\\p{P}!-/:-@\\[-`{-~]'

/** `atStart`: the pieces begin the text, or what is left of it before its first added token. */
type Step = (pieces: readonly string[], atStart: boolean) => readonly string[]

/** A parsed pre-tokenizer. */
export interface PieceCutter {
  /** The pieces are text; the model is to spell their bytes in letters itself, which it does only for words it has not seen. */
  readonly byteLevel: boolean
  cut (text: string, atStart: boolean): readonly string[]
}

/**
 * @param modelSpells whether the model can spell bytes, where that is the last step
 * @throws ZodError for steps of another kind, and SyntaxError for regular expressions that cannot be translated.
 */
export function pieceCutter (config: unknown, modelSpells: boolean): PieceCutter {
  const steps = config === null || config === undefined ? [] : stepsOf(preTokenizer.parse(config))
  const byteLevel = modelSpells && steps.at(-1) === spellBytes
  if (byteLevel) steps.pop()
  return {
    byteLevel,
    cut: (text, atStart) => steps.reduce((pieces, step) => step(pieces, atStart), [text] as readonly string[])
  }
}

/** `a▁▁b` as `a` and `▁▁b`. */
export function cutBeforeSpaces (text: string): string[] {
  const pieces: string[] = []
  let start = 0
  for (let at = text.indexOf('▁', 1); at > 0; at = text.indexOf('▁', at + 1)) {
    if (text.charAt(at - 1) === '▁') continue
    pieces.push(text.slice(start, at))
    start = at
  }
  if (start < text.length) pieces.push(text.slice(start))
  return pieces
}

function stepsOf (config: z.infer<typeof preTokenizer>): Step[] {
  switch (config.type) {
    case 'Sequence': return config.pretokenizers.flatMap(stepsOf)
    case 'Split': return [splitStep(libraryRegExp(config.pattern), config.behavior, config.invert)]
    case 'ByteLevel': return [
      ...(config.add_prefix_space ? [prefixStep] : []),
      ...(config.use_regex ? [splitStep(libraryRegExp({ Regex: GPT2_WORDS }), 'Isolated')] : []),
      spellBytes
    ]
    case 'Metaspace': return [
      metaspaceStep(config.replacement, config.prepend_scheme ?? (config.add_prefix_space === false ? 'never' : 'always')),
      ...(config.split ? [splitStep(libraryRegExp({ String: config.replacement }), 'MergedWithNext')] : [])
    ]
    case 'Digits': return [splitStep(/\p{N}/gu, config.individual_digits ? 'Isolated' : 'Contiguous')]
    case 'Punctuation': return [splitStep(libraryRegExp({ Regex: PUNCTUATION }), config.behavior)]
    case 'Whitespace': return [splitStep(libraryRegExp({ Regex: '\\w+|[^\\w\\s]+' }), 'Removed', true)]
    case 'WhitespaceSplit': return [splitStep(/\p{White_Space}/gu, 'Removed')]
    case 'CharDelimiterSplit': return [splitStep(libraryRegExp({ String: config.delimiter }), 'Removed')]
    case 'BertPreTokenizer': return [splitStep(/\p{White_Space}/gu, 'Removed'), splitStep(libraryRegExp({ Regex: PUNCTUATION }), 'Isolated')]
  }
}

function splitStep (expression: RegExp, behavior: SplitBehavior, invert = false): Step {
  return pieces => pieces.flatMap(piece => splitText(piece, expression, behavior, invert))
}

const prefixStep: Step = pieces => pieces.map(piece => piece.startsWith(' ') ? piece : ` ${piece}`)

const spellBytes: Step = pieces => pieces.map(piece => Array.from(Buffer.from(piece), byte => BYTE_LETTERS[byte]).join(''))

function metaspaceStep (replacement: string, scheme: 'always' | 'first' | 'never'): Step {
  return (pieces, atStart) => pieces.map((piece, i) => {
    const replaced = piece.replaceAll(' ', replacement)
    const prepends = scheme === 'always' || (scheme === 'first' && atStart && i === 0)
    return prepends && !replaced.startsWith(replacement) ? replacement + replaced : replaced
  })
}
