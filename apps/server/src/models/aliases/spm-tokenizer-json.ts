import { mergesByScore } from '../../text/gguf/sentencepiece-merges.ts'
import type { ScoredPiece } from '../../text/gguf/sentencepiece-merges.ts'

const SPECIAL = ['<unk>', '<s>', '</s>'] as const
const NUM_BYTES = 256

/**
 * `tokenizer.json` for a SentencePiece BPE vocabulary in Llama's order: `<unk>`, `<s>`, `</s>`, 256 lone bytes, then the pieces. Text
 * gets a space in front, characters without a piece fall back to their bytes, and `<s>` opens the sequence. Ids are those of
 * SentencePiece and `run.c`, for equal scores by way of `merge_ranks`, which other readers of the file do not know; a `▁` in the text
 * counts as a space, as SentencePiece has it.
 */
export function spmTokenizerJson (pieces: readonly ScoredPiece[]): object {
  const { merges, ranks } = mergesByScore(pieces.slice(SPECIAL.length + NUM_BYTES))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '<s>', type_id: 1 } }, { Sequence: { id: 'B', type_id: 1 } }
      ],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } }
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 }
      ]
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map(({ content }, id) => [content, id])),
      merges,
      ...(ranks !== undefined && { merge_ranks: ranks })
    }
  }
}

/** `tokenizer_config.json` beside it. */
export function spmTokenizerConfig (maxTokens: number): object {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    add_bos_token: true,
    add_eos_token: false,
    clean_up_tokenization_spaces: false,
    model_max_length: maxTokens
  }
}
