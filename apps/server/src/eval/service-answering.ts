import { greedySampling } from '@daybreak/engine/greedy-sampling'
import type { TokenId } from '@daybreak/kvcache'
import type { GenerationService } from '../generation/generation-service.ts'
import type { TextService } from '../text/index.ts'
import type { Answer, Answering } from './answering.ts'
import { EvalRequestError } from './errors.ts'

/** Asks a generation service directly, without the wire between. */
export class ServiceAnswering implements Answering {
  readonly description: string
  readonly maxModelLen: number | undefined
  readonly #service: GenerationService
  readonly #text: TextService
  #numAsked = 0

  constructor (service: GenerationService, text: TextService) {
    this.#service = service
    this.#text = text
    const { capacity } = service
    this.maxModelLen = capacity?.maxModelLen
    this.description = capacity === undefined ? 'in process' : `in process, ${capacity.dtype} on ${capacity.adapter}`
  }

  async answer (prompt: readonly TokenId[], maxTokens: number): Promise<Answer> {
    const stream = this.#service.generate({
      id: `eval-${this.#numAsked++}`,
      promptTokens: prompt,
      choices: [{ sampling: greedySampling, outputTokens: [] }],
      maxTokens,
      stopTokens: this.#text.eosTokens,
      priority: 0,
      promptLogprobs: undefined
    })
    const tokens: TokenId[] = []
    let ended: boolean | undefined
    for await (const events of stream) {
      for (const event of events) {
        if (event.type === 'token') tokens.push(event.token)
        if (event.type !== 'finish') continue
        if (event.reason === 'error' || event.reason === 'abort') {
          throw new EvalRequestError({ reason: event.error?.message ?? event.reason, promptTokens: prompt.length })
        }
        ended = event.reason === 'stop'
        if (event.stopToken !== undefined && tokens.at(-1) === event.stopToken) tokens.pop()
      }
    }
    if (ended === undefined) throw new EvalRequestError({ reason: 'the stream ended early', promptTokens: prompt.length })
    return { text: this.#text.decode(tokens, { skipSpecialTokens: false, continuation: true }), ended }
  }
}
