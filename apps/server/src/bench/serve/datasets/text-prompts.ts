import type { RandomStream } from '../../random-stream.ts'
import type { SampleRequest } from '../sample-request.ts'
import type { ServerText } from '../server-text.ts'
import type { TokenRequest } from './token-prompts.ts'

const WORDS = ('time year people way day man thing woman life child world school state family student group country problem hand part ' +
  'place case week company system program question work government number night point home water room mother area money story fact').split(' ')

/**
 * The same workload as text, for endpoints that take no token ids: the server's own /detokenize, or where it has none as many
 * everyday words as there were tokens. The lengths are then near what was asked for; the server's usage says what they were.
 */
export async function asText (requests: readonly TokenRequest[], text: ServerText, random: RandomStream): Promise<SampleRequest[]> {
  const samples: SampleRequest[] = []
  let canDetokenize = true
  for (const request of requests) {
    const prompt: string | undefined = canDetokenize ? await text.detokenize(request.prompt) : undefined
    canDetokenize = prompt !== undefined
    samples.push({ ...request, prompt: prompt ?? request.prompt.map(() => WORDS[random.integer(0, WORDS.length - 1)]).join(' ') })
  }
  return samples
}
