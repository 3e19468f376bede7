import type { TextService } from '../text/text-service.ts'
import { completionLogprobs } from './logprobs.ts'
import type { FinishedChoice, ResponseFormat, ResponseIdentity } from './response-format.ts'
import { usageObject } from './usage.ts'

/** `text_completion`, whose chunks have the shape of the whole. */
export function completionFormat ({ id, created, model }: ResponseIdentity, text: TextService): ResponseFormat {
  const opening = `${JSON.stringify({ id, object: 'text_completion', created, model }).slice(0, -1)},"choices":[`
  const head = `${opening}{"index":`
  return {
    textChunk (index, content, logprobs, _first, usage) {
      const scores = logprobs === undefined ? 'null' : JSON.stringify(completionLogprobs(logprobs, text))
      return `${head}${index},"text":${JSON.stringify(content)},"logprobs":${scores},"finish_reason":null}]${usage}}`
    },
    finishChunk (index, { finishReason, stopReason }, _first, usage) {
      return `${head}${index},"text":"","logprobs":null,"finish_reason":"${finishReason}","stop_reason":${JSON.stringify(stopReason)}}]${usage}}`
    },
    usageChunk: usage => `${opening}],"usage":${JSON.stringify(usageObject(usage))}}`,
    whole: (choices, usage) => ({
      id,
      object: 'text_completion',
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
    text: choice.text,
    logprobs: choice.logprobs === undefined ? null : completionLogprobs(choice.logprobs, text),
    finish_reason: choice.finishReason,
    stop_reason: choice.stopReason,
  }
}
