const BOS = 1
const FIRST_BYTE_ID = 3
const NUM_BYTES = 256

/**
 * llama2.c's tokenizer as its `run.c` encodes: characters (or their bytes) first, then the best-scoring neighbouring pair is joined,
 * again and again, the leftmost where two score the same. Quadratic, and in no need to be faster.
 */
export class ReferenceLlama2cTokenizer {
  readonly #pieces: Array<{ readonly text: string, readonly score: number }> = []
  readonly #ids = new Map<string, number>()

  /** `bytes`: exactly a tokenizer.bin. */
  constructor (bytes: Uint8Array, vocabSize: number) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let at = 4
    for (let id = 0; id < vocabSize; id++) {
      const score = view.getFloat32(at, true)
      const length = view.getInt32(at + 4, true)
      const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(at + 8, at + 8 + length))
      at += 8 + length
      this.#pieces.push({ text, score })
      // Lone bytes are reached through their id, never by what an older export writes as their text.
      if (id >= FIRST_BYTE_ID + NUM_BYTES) this.#ids.set(text, id)
    }
  }

  /** With BOS in front. */
  encode (text: string): number[] {
    const ids: number[] = []
    for (const character of text === '' ? '' : ` ${text}`) {
      const id = this.#ids.get(character)
      if (id !== undefined) ids.push(id)
      else for (const byte of new TextEncoder().encode(character)) ids.push(byte + FIRST_BYTE_ID)
    }
    for (;;) {
      let best: { readonly at: number, readonly id: number, readonly score: number } | undefined
      for (let at = 0; at + 1 < ids.length; at++) {
        const id = this.#ids.get(this.#joinable(ids[at]) + this.#joinable(ids[at + 1]))
        const score = id === undefined ? undefined : this.#pieces[id]?.score
        if (id !== undefined && score !== undefined && (best === undefined || score > best.score)) best = { at, id, score }
      }
      if (best === undefined) return [BOS, ...ids]
      ids.splice(best.at, 2, best.id)
    }
  }

  /** The text of ids that follow a prompt. */
  decode (ids: readonly number[]): string {
    return Buffer.concat(ids.map(id => id >= FIRST_BYTE_ID && id < FIRST_BYTE_ID + NUM_BYTES
      ? Buffer.of(id - FIRST_BYTE_ID)
      : Buffer.from(id < FIRST_BYTE_ID ? '' : this.#pieces[id]?.text ?? ''))).toString()
  }

  /** NUL is in no text: a lone byte joins with nothing, as `<0xNN>` does with nothing in run.c. */
  #joinable (id: number | undefined): string {
    return id === undefined || id < FIRST_BYTE_ID + NUM_BYTES ? '\0' : this.#pieces[id]?.text ?? '\0'
  }
}
