import type { ChatMessage, ChatTemplateOptions } from './text-service.ts'

const OPEN = '\u{F8FFE}'
const CLOSE = '\u{F8FFF}'

/** A run of rendered text. `literal`: letters that spell a special token, and are to stay letters. */
export interface TextPart {
  readonly text: string
  readonly literal: boolean
}

/**
 * Keeps callers of a chat from forging turns: before rendering, every special token's name in what they sent is replaced by a
 * placeholder (a number between two private-use characters), and after rendering the placeholders mark the parts that must be read as
 * letters. The special tokens that the template itself writes stay what they are. The parts are tokenised one by one, so text right
 * beside such a name may be cut differently than it would be without one; it decodes to what was sent.
 */
export class SpecialTokenEscape {
  readonly #names: readonly string[]
  readonly #pattern: RegExp

  constructor (specialTokens: Iterable<string>) {
    // The placeholder's own characters are escaped too: a caller who sends them cannot forge a placeholder.
    this.#names = [...specialTokens, OPEN, CLOSE].sort((a, b) => b.length - a.length)
    this.#pattern = new RegExp(this.#names.map(name => name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'), 'gu')
  }

  escapeMessage (message: ChatMessage): ChatMessage {
    const calls = message.tool_calls?.map(call => ({
      ...call,
      function: { name: this.escapeText(call.function.name), arguments: this.escapeText(call.function.arguments) }
    }))
    return {
      ...message,
      content: this.escapeText(message.content),
      ...(message.name === undefined ? {} : { name: this.escapeText(message.name) }),
      ...(calls === undefined ? {} : { tool_calls: calls })
    }
  }

  /** A copy of the options in which all that a template may show is escaped. */
  escapeOptions (options: ChatTemplateOptions): ChatTemplateOptions {
    const { tools, documents, variables } = options
    return {
      ...options,
      ...(tools === undefined ? {} : { tools: tools.map(tool => this.escapeJson(tool)) }),
      ...(documents === undefined ? {} : { documents: documents.map(document => this.#escapeEntries(document)) }),
      ...(variables === undefined ? {} : { variables: this.#escapeEntries(variables) })
    }
  }

  #escapeEntries<T> (record: Readonly<Record<string, T>>): Record<string, T | string> {
    return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, typeof value === 'string' ? this.escapeText(value) : value]))
  }

  /** A copy of a JSON value with every string in it escaped, keys included. */
  escapeJson (value: unknown): unknown {
    if (typeof value === 'string') return this.escapeText(value)
    if (Array.isArray(value)) return value.map(item => this.escapeJson(item))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.escapeText(key), this.escapeJson(item)]))
  }

  escapeText (text: string): string {
    return text.replace(this.#pattern, name => `${OPEN}${this.#names.indexOf(name)}${CLOSE}`)
  }

  /** Rendered text as parts in order, placeholders turned back into the names they stood for. */
  split (rendered: string): TextPart[] {
    const pieces = rendered.split(new RegExp(`${OPEN}(\\d+)${CLOSE}`, 'u'))
    const parts = pieces.map((piece, i) => i % 2 === 0
      ? { text: piece, literal: false }
      : { text: this.#names[Number(piece)] ?? '', literal: true })
    return parts.filter(part => part.text !== '')
  }
}
