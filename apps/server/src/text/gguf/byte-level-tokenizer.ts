import { addedTokens, textTokens } from './added-tokens.ts'
import { bosAndEos } from './post-processor.ts'
import { preTokenizerOf } from './pre-tokenizers.ts'
import type { GgufVocabulary } from './vocabulary.ts'

/**
 * A `gpt2` vocabulary as a tokenizer.json: words by the regular expressions that `tokenizer.ggml.pre` names, their bytes spelled in
 * letters, merged as the file lists it.
 * @throws ModelFileError for a pre-tokenizer that is not known
 */
export function byteLevelTokenizer (vocabulary: GgufVocabulary): object {
  const { expressions, wholeWords, addBos, normalizer } = preTokenizerOf(vocabulary)
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: normalizer === undefined ? null : { type: normalizer },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [...expressions.map(Regex => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })), byteLevel]
    },
    post_processor: bosAndEos(vocabulary, { bos: addBos, eos: false }),
    decoder: byteLevel,
    model: {
      type: 'BPE',
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: wholeWords,
      vocab: Object.fromEntries(textTokens(vocabulary).map(({ content, id }) => [content, id])),
      merges: vocabulary.merges
    }
  }
}
