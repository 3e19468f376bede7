import { chatTemplatesOf } from '../text/chat-template.ts'
import { readTextModelFiles } from '../text/model-files.ts'
import type { TextModelFiles } from '../text/model-files.ts'
import { byteRuleOf } from '../text/token-bytes.ts'
import { Tokenizer } from '../text/tokenizer.ts'

/** What a model's text files say, with keys as `--json` prints them. */
export interface TextFacts {
  readonly tokenizer: {
    /** `BPE`, `Unigram`, … */
    readonly model: string
    /** How what has no token of its own is spelled. */
    readonly bytes: 'byte-level' | 'byte-fallback' | 'none'
    /** One more than the highest id of a token. */
    readonly vocabSize: number
    readonly specialTokens: number
    readonly bos: SpecialToken | null
    /** Any of them ends a generation. */
    readonly eos: readonly SpecialToken[]
  }
  readonly chatTemplate: {
    /** `default` first; some models have one of its own for tools. */
    readonly names: readonly string[]
    readonly takesTools: boolean
  } | null
}

export interface SpecialToken {
  readonly id: number
  /** Null where the tokenizer has no such token. */
  readonly text: string | null
}

/** Reads a folder's tokenizer and template as the server does. @throws ModelFileError, UnsupportedTokenizerError (rejects) */
export async function readTextFacts (folder: string): Promise<TextFacts> {
  const files = await readTextModelFiles(folder)
  const tokenizer = new Tokenizer(files, folder)
  const { byteLevel, byteFallback } = byteRuleOf(files.tokenizer.decoder)
  const named = (spelling: string | null | undefined): number | undefined => spelling == null ? undefined : tokenizer.idOf(spelling)
  const token = (id: number): SpecialToken => ({ id, text: tokenizer.spelling(id) ?? null })
  const bos = named(files.config.bos_token)
  const eos = named(files.config.eos_token)
  return {
    tokenizer: {
      model: modelOf(files),
      bytes: byteLevel ? 'byte-level' : byteFallback ? 'byte-fallback' : 'none',
      vocabSize: tokenizer.size,
      specialTokens: tokenizer.specialTokens.size,
      bos: bos === undefined ? null : token(bos),
      eos: [...new Set([...files.eosTokenIds, ...eos === undefined ? [] : [eos]])].map(token)
    },
    chatTemplate: templateOf(chatTemplatesOf(files))
  }
}

/** Old files leave the type out: merges are BPE's, scores Unigram's. */
function modelOf ({ tokenizer: { model } }: TextModelFiles): string {
  const { type, merges, vocab } = model
  return typeof type === 'string' ? type : merges !== undefined ? 'BPE' : Array.isArray(vocab) ? 'Unigram' : 'WordLevel'
}

function templateOf (templates: Readonly<Record<string, string>>): TextFacts['chatTemplate'] {
  const names = Object.keys(templates).sort((a, b) => Number(b === 'default') - Number(a === 'default'))
  if (names.length === 0) return null
  // A variable of that name in a statement or an expression; the word may also stand in the text itself.
  const readsTools = Object.values(templates).some(template => [...template.matchAll(/\{[{%](.*?)[%}]\}/gs)].some(([, code = '']) => /\btools\b/.test(code)))
  return { names, takesTools: names.includes('tool_use') || readsTools }
}
