import { refusal, type GgufToken, type GgufVocabulary } from './vocabulary.ts'

/**
 * What is put around a text, as tokenizer.json writes it; null for nothing.
 * @param defaults where the file does not say, if it names the token
 * @throws ModelFileError when the file says that a token is added and does not name it
 */
export function bosAndEos (vocabulary: GgufVocabulary, defaults: { readonly bos: boolean; readonly eos: boolean }): object | null {
  const before = addition(vocabulary, 'bos', defaults.bos)
  const behind = addition(vocabulary, 'eos', defaults.eos)
  const added = [...before, ...behind]
  if (added.length === 0) return null
  const single = [...before.map(special), { Sequence: { id: 'A', type_id: 0 } }, ...behind.map(special)]
  return {
    type: 'TemplateProcessing',
    single,
    pair: [...single, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: Object.fromEntries(added.map(({ content, id }) => [content, { id: content, ids: [id], tokens: [content] }]))
  }
}

function special ({ content }: { readonly content: string }): object {
  return { SpecialToken: { id: content, type_id: 0 } }
}

function addition (vocabulary: GgufVocabulary, name: 'bos' | 'eos', byDefault: boolean): readonly GgufToken[] {
  const asked = vocabulary.flag(`add_${name}_token`)
  const token = vocabulary.special(name)
  if (asked === true && token === undefined) throw refusal(vocabulary.source, `tokenizer.ggml.add_${name}_token is on, and no tokenizer.ggml.${name}_token_id names a token`)
  return token !== undefined && (asked ?? byDefault) ? [token] : []
}
