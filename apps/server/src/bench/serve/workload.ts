import type { RandomStream } from '../random-stream.ts'
import { customRequests, DatasetError, shareGptRequests } from './datasets/dataset-files.ts'
import { asText } from './datasets/text-prompts.ts'
import { prefixRepetitionRequests, randomRequests } from './datasets/token-prompts.ts'
import type { TokenRequest } from './datasets/token-prompts.ts'
import type { SampleRequest } from './sample-request.ts'
import type { ServeFlags } from './serve-flags.ts'
import type { ServerText } from './server-text.ts'

/** The token ids to draw from are not known. */
export class VocabSizeUnknownError extends Error {
  override readonly name = 'VocabSizeUnknownError'
  readonly code = 'BENCH_VOCAB_SIZE_UNKNOWN'
  readonly details = {}
  constructor () {
    super('the server has no /tokenize to learn its vocabulary from: give --vocab-size')
  }
}

/** The requests that the flags describe, made or read, in the order to send. */
export async function makeWorkload (flags: ServeFlags, text: ServerText, random: RandomStream): Promise<readonly SampleRequest[]> {
  switch (flags.datasetName) {
    case 'random': return await fromTokens(flags, text, random, vocabSize => randomRequests({
      numPrompts: flags.numPrompts,
      vocabSize,
      inputLen: flags.randomInputLen,
      outputLen: flags.randomOutputLen,
      rangeRatio: flags.randomRangeRatio,
      prefixLen: flags.randomPrefixLen
    }, random))
    case 'prefix_repetition': return await fromTokens(flags, text, random, vocabSize => prefixRepetitionRequests({
      numPrompts: flags.numPrompts,
      vocabSize,
      numPrefixes: flags.prefixRepetitionNumPrefixes,
      prefixLen: flags.prefixRepetitionPrefixLen,
      suffixLen: flags.prefixRepetitionSuffixLen,
      outputLen: flags.prefixRepetitionOutputLen
    }, random))
    case 'custom': return await customRequests(datasetPath(flags), flags.numPrompts, flags.customOutputLen, text)
    case 'sharegpt': return await shareGptRequests(datasetPath(flags), flags.numPrompts, flags.sharegptOutputLen, text, random)
  }
}

async function fromTokens (flags: ServeFlags, text: ServerText, random: RandomStream, make: (vocabSize: number) => TokenRequest[]): Promise<readonly SampleRequest[]> {
  const vocabSize = flags.vocabSize ?? await text.vocabSize()
  if (flags.backend === 'openai-chat') return await asText(make(vocabSize ?? 1), text, random)
  if (vocabSize === undefined) throw new VocabSizeUnknownError()
  return make(vocabSize)
}

function datasetPath (flags: ServeFlags): string {
  if (flags.datasetPath === undefined) throw new DatasetError('--dataset-path', `the ${flags.datasetName} dataset needs a file`)
  return flags.datasetPath
}
