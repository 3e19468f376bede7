import type { TextService } from '../text/text-service.ts'
import { chatLogprobs } from './logprobs.ts'
import type { FinishedChoice, ResponseFormat, ResponseIdentity } from './response-format.ts'
import { usageObject } from './usage.ts'

/** `chat.completion` and its chunks. The role comes with the first text, not before it: it would fake a first token. */
export function chatFormat ({ id, created, model }: ResponseIdentity, text: TextService): ResponseFormat {
  const opening = `${JSON.stringify({ id, object: 'chat.completion.chunk', created, model }).slice(0, -1)},"choices":[`
  const head = `${opening}{"index":`
  return {
    textChunk (index, content, logprobs, first, usage) {
      const role = first ? '"role":"assistant",' : ''
      const scores = logprobs === undefined ? 'null' : JSON.stringify(chatLogprobs(logprobs, text))
      return `${head}${index},"delta":{${role}"content":${JSON.stringify(content)}},"logprobs":${scores},"finish_reason":null}]${usage}}`
    },
    finishChunk (index, { finishReason, stopReason }, first, usage) {
      const delta = first ? '{"role":"assistant","content":""}' : '{}'
      return `${head}${index},"delta":${delta},"logprobs":null,"finish_reason":"${finishReason}","stop_reason":${JSON.stringify(stopReason)}}]${usage}}`
    },
    usageChunk: usage => `${opening}],"usage":${JSON.stringify(usageObject(usage))}}`,
    whole: (choices, usage) => ({
      id,
      object: 'chat.completion',
      created,
      model,
      choices: choices.map(choice => wholeChoice(choice, text)),
      usage: usageObject(usage),
    }),
  }
}

function wholeChoice (choice: FinishedChoice, text: TextService) {
  return {
    index: choice.index,
    message: { role: 'assistant', content: choice.text, refusal: null },
    logprobs: choice.logprobs === undefined ? null : chatLogprobs(choice.logprobs, text),
    finish_reason: choice.finishReason,
    stop_reason: choice.stopReason,
  }
}
