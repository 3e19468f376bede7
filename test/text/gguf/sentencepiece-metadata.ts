import type { GgufMetadataValue } from '../../../apps/server/src/text/gguf/vocabulary.ts'
import type { TokenizerFile } from '../fixtures/tokenizers.ts'

/**
 * Hugging Face's conversion of a SentencePiece model undone: ids become scores, and the merges are left out. Pieces of spaces alone have
 * one low score, as SentencePiece gives them.
 */
export function sentencePieceMetadata ({ model, added_tokens: added }: TokenizerFile): Map<string, GgufMetadataValue> {
  const special = new Set(added.map(({ content }) => content))
  const typeOf = (token: string) => token === '<unk>' ? 2 : special.has(token) ? 3 : /^<0x..>$/.test(token) ? 6 : 1
  const tokens = Object.entries(model.vocab).sort(([, a], [, b]) => a - b).map(([token]) => token)
  return new Map<string, GgufMetadataValue>([
    ['tokenizer.ggml.model', 'llama'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.scores', Float32Array.from(tokens, (token, id) => /^▁+$/.test(token) ? -1e9 : -id)],
    ['tokenizer.ggml.token_type', Int32Array.from(tokens, typeOf)]
  ])
}
