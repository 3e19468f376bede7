import type { SamplingParams } from '@daybreak/engine/contract'
import type { GenerationRequest } from '@daybreak/scheduler'
import { ASSISTANT, BOS, END, SYSTEM, USER } from '../../../apps/server/src/eval/document.ts'
import { WORDS } from '../../../apps/server/src/eval/vocabulary.ts'
import type { TextService } from '../../../apps/server/src/text/index.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { greedy } from '../runner/sequence-driver.ts'

/** A request, and the number that its answer must be: no other request's prompt holds it. */
export interface CanaryRequest {
  readonly request: GenerationRequest
  readonly answer: string | undefined
}

/** Numbers of lines in the documents asked about, each by one request. About 11 tokens a line. */
const DOCUMENT_LINES = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 5, 24]
/** Requests that ask for different lines of one document, so that a prefix cache has something to find. */
const SHARED_DOCUMENT = { lines: 5, askers: 4 }
const RAW_PROMPTS = 5
const withLogprobs = (sampling: Partial<SamplingParams>): SamplingParams => ({ ...greedy, numLogprobs: 1, ...sampling })

/** Seeded draws of every kind: the random number depends on seed and position only, so they are as reproducible as the argmax. */
const DRAWS: ReadonlyArray<readonly [animal: string, samplings: ReadonlyArray<Partial<SamplingParams>>]> = [
  ['dog', [{ temperature: 1, seed: 1 }]],
  ['cat', [{ temperature: 0.7, topP: 0.9, seed: 2 }]],
  ['frog', [{ temperature: 1.2, topK: 20, minP: 0.02, seed: 3 }]],
  ['bear', [{ temperature: 0.9, presencePenalty: 0.5, frequencyPenalty: 0.3, seed: 4 }]],
  ['duck', [{ temperature: 0, repetitionPenalty: 1.3 }]],
  ['fish', [{ temperature: 1, seed: 5 }, { temperature: 1, seed: 6 }, { temperature: 0 }]]
]

/**
 * 32 requests of 5 to about 300 prompt tokens, one of which also has its prompt scored. The ones with short prompts and long outputs
 * come first: they are all admitted into a small KV cache, and outgrow it.
 */
export async function canaryRequests (text: TextService, seed: number): Promise<CanaryRequest[]> {
  const random = new SeededRandom(seed)
  const lines = canaryLines(random)
  const all: CanaryRequest[] = []
  const add = async (prompt: string, rest: Partial<GenerationRequest>, samplings: ReadonlyArray<Partial<SamplingParams>>, answer?: string): Promise<void> => {
    all.push({
      answer,
      request: {
        id: `canary-${all.length}`,
        promptTokens: await text.encode(prompt, { addSpecialTokens: false }),
        choices: samplings.map(sampling => ({ sampling: withLogprobs(sampling), outputTokens: [] })),
        maxTokens: 12,
        stopTokens: text.eosTokens,
        priority: 0,
        promptLogprobs: undefined,
        ...rest
      }
    })
  }
  const ask = async (document: readonly Line[], asked: Line, rest: Partial<GenerationRequest> = {}): Promise<void> => {
    const told = document.map(({ key, value }) => `line ${key}: ${value}\n`).join('')
    await add(`${BOS}${SYSTEM}${told}${END}${USER}What is line ${asked.key}?${ASSISTANT}`, rest, [{}], asked.value)
  }

  for (const word of random.shuffled(WORDS).slice(0, RAW_PROMPTS)) await add(`${BOS}One day, ${word}`, { maxTokens: 24, stopTokens: [] }, [{}])
  for (const [animal, samplings] of DRAWS) await add(`${BOS}${USER}Tell me a story about a ${animal}.${ASSISTANT}`, { maxTokens: 20 }, samplings)
  for (const numLines of random.shuffled(DOCUMENT_LINES)) {
    const document = lines(numLines)
    await ask(document, random.pick(document))
  }
  const shared = lines(SHARED_DOCUMENT.lines)
  for (const asked of random.shuffled(shared).slice(0, SHARED_DOCUMENT.askers)) await ask(shared, asked)
  const scored = lines(3)
  await ask(scored, random.pick(scored), { promptLogprobs: 2 })
  return all
}

interface Line { readonly key: string, readonly value: string }

/** Gives out documents none of whose keys and numbers has been given out before. */
function canaryLines (random: SeededRandom): (count: number) => Line[] {
  const keys = new Set<string>()
  const values = new Set<string>()
  return count => Array.from({ length: count }, () => ({
    key: unused(keys, () => `${random.pick(WORDS)}-${random.pick(WORDS)}`),
    value: unused(values, () => String(random.between(10_000, 99_999)))
  }))
}

function unused (used: Set<string>, draw: () => string): string {
  let drawn = draw()
  while (used.has(drawn)) drawn = draw()
  used.add(drawn)
  return drawn
}
