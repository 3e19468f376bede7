import type { ChatMessage, ChatTemplateOptions } from './text-service.ts'

const SPEAKERS: Readonly<Record<string, string>> = { system: 'System', developer: 'System', user: 'User', assistant: 'Assistant', tool: 'Tool' }

/**
 * The prompt for a model that brings no chat template: a transcript that base models can go on with.
 *
 *     System: …
 *     User: …
 *     Assistant: …
 *     User: …
 *     Assistant:
 *
 * Tools come first as one line `Tools: [JSON]`, then each document; a tool call is written as its JSON, and left out behind a message
 * that the model is to continue. The tokenizer's own special tokens (BOS) are
 * added in front, since no template places them.
 */
export function renderPlainChat (messages: readonly ChatMessage[], options: ChatTemplateOptions): string {
  const lines = options.tools === undefined ? [] : [`Tools: ${JSON.stringify(options.tools)}`]
  for (const document of options.documents ?? []) lines.push(`Document: ${JSON.stringify(document)}`)
  for (const [i, message] of messages.entries()) {
    const continued = options.continueFinalMessage === true && i === messages.length - 1
    const calls = (continued ? [] : message.tool_calls ?? []).map(call => JSON.stringify({ name: call.function.name, arguments: call.function.arguments }))
    const said = [message.content, ...calls].filter(part => part !== '').join('\n')
    lines.push(`${SPEAKERS[message.role] ?? message.role}: ${said}`)
  }
  if (options.addGenerationPrompt) lines.push('Assistant:')
  return lines.join('\n')
}
