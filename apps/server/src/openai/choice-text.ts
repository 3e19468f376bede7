import type { TokenLogprob } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'
import { StopStringScanner } from '../text/stop-strings.ts'
import type { Detokenizer } from '../text/text-service.ts'
import { countCodePoints } from './logprobs.ts'
import type { LogprobEntry } from './logprobs.ts'

export interface ChoiceTextOptions {
  readonly detokenizer: Detokenizer
  readonly stop: readonly string[]
  readonly collectLogprobs: boolean
  /** Prompt text to show before the generated text, with `echo`. */
  readonly echo: string
}

/**
 * Turns one choice's tokens into text that may be shown: whole characters only, nothing that may belong to a stop string,
 * and each token's log-probability together with the first of its characters to be shown.
 */
export class ChoiceText {
  readonly #detokenizer: Detokenizer
  readonly #scanner: StopStringScanner
  readonly #collectLogprobs: boolean
  #echo: string
  #pending: Array<{ readonly start: number, readonly entry: LogprobEntry }> = []
  /** UTF-16 units decoded and shown, without the echo. */
  #decoded = 0
  #shown = 0
  #codePoints: number

  constructor (options: ChoiceTextOptions) {
    this.#detokenizer = options.detokenizer
    this.#scanner = new StopStringScanner(options.stop)
    this.#collectLogprobs = options.collectLogprobs
    this.#echo = options.echo
    this.#codePoints = options.collectLogprobs ? countCodePoints(options.echo) : 0
  }

  /** The stop string found; the text ended before it. */
  get matchedStop (): string | undefined { return this.#scanner.matched }

  /** Whether log-probabilities wait to be taken. */
  get hasLogprobs (): boolean {
    const first = this.#pending[0]
    return first !== undefined && first.start < this.#shown
  }

  /** Log-probabilities of an echoed prompt; they go out with the first text. */
  addPromptLogprobs (entries: readonly LogprobEntry[]): void {
    this.#pending = [...entries.map(entry => ({ start: -1, entry })), ...this.#pending]
  }

  /** Text that this token allows to be shown, often none. */
  push (token: TokenId, logprob: number, top: readonly TokenLogprob[] | undefined): string {
    const piece = this.#detokenizer.push(token)
    if (this.#collectLogprobs) {
      this.#pending.push({ start: this.#decoded, entry: { token, logprob, top: top ?? [], textOffset: this.#codePoints } })
      this.#codePoints += countCodePoints(piece)
    }
    this.#decoded += piece.length
    return this.#show(this.#scanner.push(piece))
  }

  /** The rest, when no more tokens come: an incomplete character as U+FFFD, what was withheld, an echo not yet shown. */
  flush (): string {
    const rest = this.matchedStop === undefined ? this.#scanner.push(this.#detokenizer.flush()) : ''
    const shown = rest + this.#scanner.flush()
    this.#shown += shown.length
    // Without a stop string nothing was cut: tokens without characters of their own count as shown too.
    if (this.matchedStop === undefined) this.#shown = Infinity
    return this.#takeEcho() + shown
  }

  /** Log-probabilities of the tokens whose text has been shown since the last call; undefined when none were asked for. */
  takeLogprobs (): readonly LogprobEntry[] | undefined {
    if (!this.#collectLogprobs) return undefined
    const count = this.#pending.findIndex(({ start }) => start >= this.#shown)
    return this.#pending.splice(0, count === -1 ? this.#pending.length : count).map(({ entry }) => entry)
  }

  #show (text: string): string {
    if (text === '') return ''
    this.#shown += text.length
    return this.#echo === '' ? text : this.#takeEcho() + text
  }

  #takeEcho (): string {
    const echo = this.#echo
    this.#echo = ''
    return echo
  }
}
