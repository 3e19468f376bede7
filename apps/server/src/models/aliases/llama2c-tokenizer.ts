import type { ScoredPiece } from '../../text/gguf/sentencepiece-merges.ts'
import { DamagedCheckpointError } from './errors.ts'

const UNKNOWN = 0
const BOS = 1
const EOS = 2
/** `run.c` adds this to a byte that no piece covers. */
const FIRST_BYTE_ID = 3
const NUM_BYTES = 256

/**
 * Reads llama2.c's `tokenizer.bin`: u32 length of the longest piece, then for every id an f32 score, an i32 length and so many bytes of
 * UTF-8. There spaces are plain, `<s>` and `</s>` stand between line feeds, and lone bytes are either spelled `<0xNN>` or (older
 * exports) the character of that number; the result has SentencePiece's own spelling back: `▁` and `<0xNN>`.
 * @returns `vocabSize` pieces by id
 * @throws DamagedCheckpointError when the file ends early or late, or an entry is not what its id demands
 */
export function readLlama2cTokenizer (bytes: Uint8Array, vocabSize: number, file: string): readonly ScoredPiece[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const damaged = (problem: string, cause?: unknown) => new DamagedCheckpointError({ file, problem }, { cause })
  if (vocabSize < FIRST_BYTE_ID + NUM_BYTES) throw damaged(`has ${vocabSize} tokens, fewer than the special ones and the bytes take`)
  const pieces: ScoredPiece[] = []
  let at = 4
  for (let id = 0; id < vocabSize; id++) {
    if (at + 8 > bytes.byteLength) throw damaged(`ends at byte ${bytes.byteLength}, in token ${id} of ${vocabSize}`)
    const score = view.getFloat32(at, true)
    const length = view.getInt32(at + 4, true)
    at += 8
    if (length < 0 || length > bytes.byteLength - at) throw damaged(`says that token ${id}, at byte ${at}, has ${length} bytes`)
    if (!Number.isFinite(score)) throw damaged(`gives token ${id} the score ${score}`)
    let text: string
    try {
      text = utf8.decode(bytes.subarray(at, at + length))
    } catch (cause) {
      throw damaged(`has no UTF-8 in token ${id}, at byte ${at}`, cause)
    }
    at += length
    const spelling = sentencePieceSpelling(id, text)
    if (spelling === undefined) throw damaged(`has ${JSON.stringify(text)} as token ${id}, where that id stands for something else`)
    pieces.push({ content: spelling, score })
  }
  if (at !== bytes.byteLength) throw damaged(`goes on for ${bytes.byteLength - at} bytes behind its last token`)
  return pieces
}

function sentencePieceSpelling (id: number, text: string): string | undefined {
  if (id === UNKNOWN) return text === '<unk>' ? text : undefined
  if (id === BOS) return text.trim() === '<s>' ? '<s>' : undefined
  if (id === EOS) return text.trim() === '</s>' ? '</s>' : undefined
  if (id >= FIRST_BYTE_ID + NUM_BYTES) return text.replaceAll(' ', '▁')
  const byte = id - FIRST_BYTE_ID
  const spelling = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
  return text === spelling || text === String.fromCharCode(byte) ? spelling : undefined
}
