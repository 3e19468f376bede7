import { strip } from './jinja/python-strings.ts'
import type { ChatMessage } from './text-service.ts'

/**
 * Marks where the last message's text ends, to be found again in what a template makes of it. Letters, for templates look at nothing
 * else of it; the space at the end tells whether the template kept white space there.
 */
const MARK = 'THE_MODEL_GOES_ON_FROM_HERE '

/** The messages with a mark at the end of the last one's text. */
export function markFinalMessage (messages: readonly ChatMessage[]): ChatMessage[] {
  return messages.map((message, i) => i < messages.length - 1 ? message : { ...message, content: message.content + MARK })
}

/**
 * The rendering up to the end of the last message's text, so that the model goes on from there, as transformers'
 * `continue_final_message` has it: white space at its end stays where the template keeps it, and goes where the template trims it.
 * Undefined when the template leaves the text out, or does not show it as it is.
 * @param rendered of the marked messages. @param content of the last message, without the mark.
 */
export function cutAfterFinalMessage (rendered: string, content: string): string | undefined {
  const at = rendered.lastIndexOf(MARK.trimEnd())
  const before = rendered.slice(0, Math.max(at, 0))
  const trimmed = strip(before, 'right')
  // Only where the mark is: looking for a long text everywhere in another takes this thread as long as a caller wants.
  if (at < 0 || !trimmed.endsWith(strip(content, 'both'))) return undefined
  return rendered.startsWith(MARK, at) ? before : trimmed
}
