import { Budget } from './budget.ts'
import { globals } from './globals.ts'
import { Interpreter } from './interpreter.ts'
import { Scope } from './scope.ts'
import { parseTemplate, type Body } from './syntax.ts'
import type { Value } from './values.ts'

/** What a rendering depends on besides its variables. */
export interface RenderOptions {
  /** What `strftime_now` sees, in local time. */
  readonly now: Date
  /** UTF-16 units of the longest text that a template may make. */
  readonly maxCharacters: number
}

/** Items of the longest list: what doubles it still fits beside a worker's heap. */
const MAX_ITEMS = 2 ** 18

/**
 * A chat template. The text is read by @huggingface/jinja; its tree is walked here, since that library's own runtime differs from
 * jinja2 where real templates notice (`strip('\n')`, how values print, what a loop's round remembers), and makes texts of any size.
 */
export class ChatTemplate {
  readonly #body: Body

  /** @throws SyntaxError and others of the parser's own for what it cannot read. */
  constructor (source: string) {
    this.#body = parseTemplate(source)
  }

  /** @param variables by name. @throws TemplateFailure when there is no text to be had from these variables; RangeError for a recursion without end. */
  render (variables: Iterable<readonly [string, Value]>, { now, maxCharacters }: RenderOptions): string {
    const budget = new Budget({ maxCharacters, maxItems: MAX_ITEMS })
    const outermost = new Scope(undefined, globals(now, budget))
    return new Interpreter(budget).render(this.#body, new Scope(outermost, variables))
  }
}
