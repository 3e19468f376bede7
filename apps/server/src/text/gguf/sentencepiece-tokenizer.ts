import { addedTokens, textTokens } from './added-tokens.ts'
import { bosAndEos } from './post-processor.ts'
import { mergesByScore } from './sentencepiece-merges.ts'
import { refusal, TOKEN_TYPE, type GgufVocabulary } from './vocabulary.ts'

/**
 * A `llama` vocabulary as the tokenizer.json that Hugging Face makes of SentencePiece's BPE: spaces are `▁`, one is put before every
 * stretch of text, and characters without a piece become bytes. The ids are those of SentencePiece and llama.cpp; for equal scores that
 * takes ranks of their own (`merge_ranks`), which other readers of the file do not know.
 * @throws ModelFileError when it has no unknown token and lacks pieces for bytes
 */
export function sentencePieceTokenizer (vocabulary: GgufVocabulary): object {
  const pieces = textTokens(vocabulary)
  // A byte's piece and the unknown token are reached by name only: no letters merge to them.
  const { merges, ranks } = mergesByScore(pieces.filter(({ type }) => type !== TOKEN_TYPE.byte))
  const hasBytes = pieces.filter(({ type }) => type === TOKEN_TYPE.byte).length === 256
  const unknown = vocabulary.special('unknown') ?? vocabulary.tokens.find(({ type }) => type === TOKEN_TYPE.unknown)
  if (!hasBytes && unknown === undefined) throw refusal(vocabulary.source, 'its tokenizer has neither 256 tokens for bytes nor an unknown token')
  const prefix = vocabulary.flag('add_space_prefix') ?? true
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: {
      type: 'Sequence',
      normalizers: [...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []), { type: 'Replace', pattern: { String: ' ' }, content: '▁' }]
    },
    pre_tokenizer: null,
    post_processor: bosAndEos(vocabulary, { bos: true, eos: false }),
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [])
      ]
    },
    model: {
      type: 'BPE',
      unk_token: unknown?.content ?? null,
      fuse_unk: true,
      byte_fallback: hasBytes,
      vocab: Object.fromEntries([...(unknown === undefined ? [] : [unknown]), ...pieces].map(({ content, id }) => [content, id])),
      merges,
      ...(ranks === undefined ? {} : { merge_ranks: ranks })
    }
  }
}
