import { TemplateFailure } from './template-failure.ts'

/**
 * How large any one value of a rendering may become. Everything that makes large things out of small ones asks here before it makes
 * them: V8 ends the whole process, and not just a worker, when a single allocation is larger than all that is left of a heap.
 */
export class Budget {
  readonly maxCharacters: number
  readonly maxItems: number

  /** @param maxCharacters UTF-16 units of a text. @param maxItems of a list. */
  constructor (limits: { readonly maxCharacters: number, readonly maxItems: number }) {
    this.maxCharacters = limits.maxCharacters
    this.maxItems = limits.maxItems
  }

  /** @throws TemplateFailure for a text that would be too long. */
  characters (count: number): void {
    if (count > this.maxCharacters) throw new TemplateFailure(`it made a text of more than ${this.maxCharacters} characters`)
  }

  /** @throws TemplateFailure for a list that would be too long. */
  items (count: number): void {
    if (count > this.maxItems) throw new TemplateFailure(`it made a list of more than ${this.maxItems} items`)
  }

  /** @throws TemplateFailure for what would be too long. */
  repeat (text: string, times: number): string {
    this.characters(text.length * Math.max(times, 0))
    return text.repeat(Math.max(times, 0))
  }

  /** @throws TemplateFailure for what would be too long. */
  join (texts: readonly string[], separator: string): string {
    this.characters(texts.reduce((sum, text) => sum + text.length, separator.length * Math.max(texts.length - 1, 0)))
    return texts.join(separator)
  }
}

/** Text written piece by piece, never beyond the budget. */
export class TextSink {
  readonly #budget: Budget
  #text = ''

  constructor (budget: Budget) {
    this.#budget = budget
  }

  get text (): string { return this.#text }

  /** @throws TemplateFailure when there is too much. */
  write (text: string): void {
    this.#budget.characters(this.#text.length + text.length)
    this.#text += text
  }
}

const PIECE = 2 ** 16

/**
 * Writes `convert` of a text, piece by piece, since it may make several times as much of it. No character is cut in two.
 * @throws TemplateFailure when the sink has too much.
 */
export function writeInPieces (text: string, convert: (piece: string) => string, sink: TextSink): void {
  for (let start = 0; start < text.length;) {
    const end = start + PIECE
    const cutsPair = (text.codePointAt(end - 1) ?? 0) > 0xffff
    sink.write(convert(text.slice(start, cutsPair ? end + 1 : end)))
    start = cutsPair ? end + 1 : end
  }
}

/** The same as a text. @throws TemplateFailure when it would be too long. */
export function convertInPieces (text: string, convert: (piece: string) => string, budget: Budget): string {
  if (text.length <= PIECE) return convert(text)
  const sink = new TextSink(budget)
  writeInPieces(text, convert, sink)
  return sink.text
}
