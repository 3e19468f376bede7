import { open } from 'node:fs/promises'
import { z } from 'zod'
import type { PromptTokens } from '@daybreak/scheduler'
import { RandomStream } from '../random-stream.ts'

/** Tokens that one hash of a trace stands for. */
const HASHED_TOKENS = 512

const traceLine = z.object({ input_length: z.number().int().positive(), output_length: z.number().int().positive(), hash_ids: z.array(z.number().int().nonnegative()).min(1) })

/** Prompts and how many tokens each generates, in the order of arrival. */
export interface TraceWorkload {
  readonly prompts: readonly PromptTokens[]
  readonly outputTokens: readonly number[]
}

/**
 * A trace of requests as Mooncake publishes them: JSON lines with lengths and a hash for every 512 tokens of a prompt, equal where prompts begin
 * alike. Tokens are drawn from the hashes. Lengths are scaled so that the longest request takes `context` tokens: a model of a
 * shorter context shares the same share of its prompts.
 * @throws Error naming the first line that is not of this form
 * @see Mooncake (Qin et al. 2024), FAST25 release
 */
export async function readTrace (path: string, context: number, vocabSize: number): Promise<TraceWorkload> {
  const requests: Array<z.infer<typeof traceLine>> = []
  const file = await open(path)
  for await (const line of file.readLines()) {
    if (line.trim() === '') continue
    const parsed = traceLine.safeParse(parseJson(line))
    if (!parsed.success) throw new Error(`line ${requests.length + 1} of ${path} is no request of a trace: ${z.prettifyError(parsed.error)}`)
    requests.push(parsed.data)
  }
  const longest = requests.reduce((most, { input_length: input, output_length: output }) => Math.max(most, input + output), 1)
  const scale = Math.min(1, context / longest)
  const scaled = (tokens: number): number => Math.max(1, Math.floor(tokens * scale))
  const hashed = scaled(HASHED_TOKENS)
  return {
    prompts: requests.map(({ input_length: input, hash_ids: hashes }) => {
      const prompt = new Int32Array(Math.min(scaled(input), hashes.length * hashed))
      for (const [i, hash] of hashes.entries()) {
        const random = new RandomStream(hash)
        for (let at = i * hashed; at < Math.min(prompt.length, (i + 1) * hashed); at++) prompt[at] = random.integer(0, vocabSize - 1)
      }
      return prompt
    }),
    outputTokens: requests.map(({ output_length: output }) => scaled(output))
  }
}

function parseJson (line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
