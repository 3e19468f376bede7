import type { ServerClient } from './server-client.ts'

// Lengths are guesses where the server has no /tokenize; English runs at about four characters a token.
const CHARACTERS_PER_TOKEN = 4
const PROBE = 'The quick brown fox jumps over 13 lazy dogs; 27 zebras, "quietly", watched (at 4:59) how \u00e9t\u00e9 turned to autumn.'

/** What the server under test can tell about its tokens: vLLM's /tokenize and /detokenize, where it has them. */
export class ServerText {
  readonly #client: ServerClient
  readonly #model: string
  #hasTokenize = true

  constructor (client: ServerClient, model: string) {
    this.#client = client
    this.#model = model
  }

  /** Whether every count so far came from the server; false once one was estimated. */
  get isExact (): boolean { return this.#hasTokenize }

  /** Number of tokens of a text, estimated from its length when the server cannot tell. */
  async countTokens (text: string): Promise<number> {
    const tokens = await this.#tokenize(text)
    return tokens?.length ?? Math.ceil(text.length / CHARACTERS_PER_TOKEN)
  }

  /** The text of these tokens; undefined when the server cannot tell. */
  async detokenize (tokens: readonly number[]): Promise<string | undefined> {
    const answer = await this.#client.json('/detokenize', { model: this.#model, tokens }).catch(() => undefined)
    return typeof answer === 'object' && answer !== null && 'prompt' in answer && typeof answer.prompt === 'string' ? answer.prompt : undefined
  }

  /**
   * A bound below which every id is one of the server's tokens: what /tokenize says its vocabulary holds, else the highest id
   * of an ordinary sentence, plus one. Undefined when the server cannot tell.
   */
  async vocabSize (): Promise<number | undefined> {
    const answer = await this.#client.json('/tokenize', { model: this.#model, prompt: PROBE }).catch(() => undefined)
    if (typeof answer !== 'object' || answer === null) return undefined
    if ('vocab_size' in answer && typeof answer.vocab_size === 'number') return answer.vocab_size
    const tokens = tokensOf(answer)
    return tokens === undefined || tokens.length === 0 ? undefined : tokens.reduce((highest, token) => Math.max(highest, token), 0) + 1
  }

  async #tokenize (text: string): Promise<readonly number[] | undefined> {
    if (!this.#hasTokenize) return undefined
    const tokens = tokensOf(await this.#client.json('/tokenize', { model: this.#model, prompt: text }).catch(() => undefined))
    this.#hasTokenize = tokens !== undefined
    return tokens
  }
}

function tokensOf (answer: unknown): readonly number[] | undefined {
  if (typeof answer !== 'object' || answer === null || !('tokens' in answer) || !Array.isArray(answer.tokens)) return undefined
  return answer.tokens.every((token): token is number => typeof token === 'number') ? answer.tokens : undefined
}
