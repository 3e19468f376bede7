/** Model folders for the tests: the embedded model's, and small ones written to a temporary directory. */
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const daybreakMini = fileURLToPath(new URL('../../models/daybreak-mini', import.meta.url))

/** Writes each value as JSON (strings as they are) under its name. The caller removes the folder. */
export async function writeFolder (files: Readonly<Record<string, unknown>>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'daybreak-text-'))
  for (const [name, value] of Object.entries(files)) {
    await writeFile(join(directory, name), typeof value === 'string' ? value : JSON.stringify(value))
  }
  return directory
}

const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, '0')

/**
 * A SentencePiece-style BPE tokenizer as Llama 2's tokenizer.json describes one: `▁` for spaces, byte fallback, one leading space
 * added before and stripped after. Its pieces are a few letters and words.
 */
export function sentencePieceTokenizer () {
  const pieces = ['<unk>', '<s>', '</s>', ...Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`),
    '▁', 'h', 'e', 'l', 'o', 'w', 'r', 'd', 'é', '▁h', 'll', '▁w', 'or', 'he', '▁he', '▁hell', '▁hello', '▁wor', 'ld', '▁world']
  const merges = ['▁ h', 'l l', '▁ w', 'o r', 'h e', '▁h e', '▁he ll', '▁hell o', '▁w or', 'l d', '▁wor ld']
  return {
    version: '1.0',
    added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }]
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
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
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges
    }
  }
}
