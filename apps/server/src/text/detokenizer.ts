import { StringDecoder } from 'node:string_decoder'
import type { TokenId } from '@daybreak/kvcache'
import type { Detokenizer } from './text-service.ts'
import type { ByteRule, TokenBytes } from './token-bytes.ts'

/**
 * Bytes in, whole characters out: constant work per token. Because decoding is nothing but the concatenated bytes read as UTF-8,
 * any way of cutting the tokens into pushes gives the same text, and a character is never split. Malformed bytes become U+FFFD, one
 * for each maximal ill-formed part (the WHATWG rule), as soon as the next byte shows that they are malformed.
 */
export class ByteDetokenizer implements Detokenizer {
  readonly #tokenBytes: TokenBytes
  readonly #skip: ReadonlySet<TokenId>
  readonly #stripped: string
  readonly #utf8 = new StringDecoder('utf8')
  #strips: number

  /** `skip`: tokens that leave no text. `strip`: what SentencePiece decoders take off the text's start. */
  constructor (tokenBytes: TokenBytes, skip: ReadonlySet<TokenId>, strip: ByteRule['strip']) {
    this.#tokenBytes = tokenBytes
    this.#skip = skip
    this.#stripped = strip.content
    this.#strips = strip.count
  }

  push (token: TokenId): string {
    if (this.#skip.has(token)) return ''
    const bytes = this.#tokenBytes.of(token)
    return this.#stripStart(this.#utf8.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)))
  }

  flush (): string {
    return this.#stripStart(this.#utf8.end())
  }

  #stripStart (text: string): string {
    if (this.#strips === 0 || text === '') return text
    let start = 0
    while (this.#strips > 0 && text.charAt(start) === this.#stripped) {
      start++
      this.#strips--
    }
    if (start < text.length) this.#strips = 0
    return text.slice(start)
  }
}
