/**
 * Every token as the bytes it stands for. Once a token is bytes, decoding is concatenation and UTF-8, whatever the tokenizer's
 * family: byte-level BPE spells bytes in a printable alphabet, SentencePiece writes `▁` for a space and `<0xNN>` for a lone byte.
 */
import type { TokenId } from '@daybreak/kvcache'
import { UnsupportedTokenizerError } from './errors.ts'
import type { DecoderStep } from './model-files.ts'

/** How token strings become bytes. */
export interface ByteRule {
  readonly byteLevel: boolean
  readonly byteFallback: boolean
  /** Literal replacements, in order. */
  readonly replacements: ReadonlyArray<readonly [string, string]>
  /** Removed from the start of a decoded text, at most `count` times. */
  readonly strip: { readonly content: string; readonly count: number }
}

const PRINTABLE = [[0x21, 0x7e], [0xa1, 0xac], [0xae, 0xff]] as const
const NO_STRIP = { content: ' ', count: 0 } as const
const NO_BYTES = new Uint8Array(0)

/** The alphabet of byte-level BPE (GPT-2's): printable Latin-1 stands for itself, the other bytes for U+0100 onwards in order. */
export function byteAlphabet (): ReadonlyMap<string, number> {
  const alphabet = new Map<string, number>()
  let next = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const printable = PRINTABLE.some(([first, last]) => byte >= first && byte <= last)
    alphabet.set(String.fromCharCode(printable ? byte : next++), byte)
  }
  return alphabet
}

/** The letter of each byte in that alphabet. */
export const BYTE_LETTERS: readonly string[] = [...byteAlphabet()].sort(([, a], [, b]) => a - b).map(([letter]) => letter)

/** The token of each byte (`<0xNN>`) in a vocabulary that falls back on bytes, or -1. */
export function byteTokenIds (vocab: ReadonlyMap<string, TokenId>): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => vocab.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`) ?? -1)
}

/** @throws UnsupportedTokenizerError for decoders whose output depends on more than the bytes of each token. */
export function byteRuleOf (decoder: DecoderStep | null | undefined): ByteRule {
  const steps = flatten(decoder)
  const types = steps.map(step => step.type)
  const unsupported = new UnsupportedTokenizerError({ decoder: types.join(' + ') || 'none' })
  if (steps.length === 0) throw unsupported
  const replacements: Array<readonly [string, string]> = []
  let strip: ByteRule['strip'] = NO_STRIP
  for (const step of steps) {
    switch (step.type) {
      case 'ByteLevel':
      case 'ByteFallback':
      case 'Fuse':
        break
      case 'Replace':
        if (step.pattern === undefined || !('String' in step.pattern)) throw unsupported
        replacements.push([step.pattern.String, step.content ?? ''])
        break
      case 'Metaspace':
        replacements.push([step.replacement ?? '▁', ' '])
        // What puts no space in front of a text takes none away.
        strip = step.prepend_scheme === 'never' || step.add_prefix_space === false ? NO_STRIP : { content: ' ', count: 1 }
        break
      case 'Strip':
        if ((step.stop ?? 0) > 0 || (step.content ?? '').length !== 1) throw unsupported
        strip = { content: step.content ?? ' ', count: step.start ?? 0 }
        break
      default:
        throw unsupported
    }
  }
  return { byteLevel: types.includes('ByteLevel'), byteFallback: types.includes('ByteFallback'), replacements, strip }
}

function flatten (step: DecoderStep | null | undefined): DecoderStep[] {
  if (step === null || step === undefined) return []
  return step.type === 'Sequence' ? (step.decoders ?? []).flatMap(flatten) : [step]
}

/** Looks tokens up once and keeps their bytes. Ids without a token (padding of the vocabulary) are no bytes at all. */
export class TokenBytes {
  readonly #rule: ByteRule
  readonly #alphabet = byteAlphabet()
  readonly #tokenOf: (id: TokenId) => string | undefined
  readonly #verbatim: ReadonlySet<TokenId>
  readonly #cache: Uint8Array[] = []
  readonly #encoder = new TextEncoder()

  /** `verbatim`: added tokens, whose text byte-level tokenizers do not spell in the alphabet. */
  constructor (rule: ByteRule, tokenOf: (id: TokenId) => string | undefined, verbatim: ReadonlySet<TokenId>) {
    this.#rule = rule
    this.#tokenOf = tokenOf
    this.#verbatim = verbatim
  }

  /** The caller must not write to the result. */
  of (id: TokenId): Uint8Array {
    const cached = this.#cache[id]
    if (cached !== undefined) return cached
    const token = this.#tokenOf(id)
    if (token === undefined) return NO_BYTES
    const bytes = this.#spell(token, id)
    this.#cache[id] = bytes
    return bytes
  }

  #spell (token: string, id: TokenId): Uint8Array {
    if (this.#rule.byteLevel) {
      const bytes = this.#verbatim.has(id) ? undefined : this.#fromAlphabet(token)
      return bytes ?? this.#encoder.encode(token)
    }
    const byte = this.#rule.byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined
    if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16))
    let text = token
    for (const [from, to] of this.#rule.replacements) text = text.replaceAll(from, to)
    return this.#encoder.encode(text)
  }

  #fromAlphabet (token: string): Uint8Array | undefined {
    const bytes = new Uint8Array(token.length)
    for (let i = 0; i < token.length; i++) {
      const byte = this.#alphabet.get(token.charAt(i))
      if (byte === undefined) return undefined
      bytes[i] = byte
    }
    return bytes
  }
}
