import OpenAI from 'openai'
import { SeededStream } from '../../apps/server/src/eval/seeded-stream.ts'
import { readGreedyFixture } from '../fixtures/read-fixtures.ts'
import { DaybreakProcess, serverTest } from './daybreak-process.ts'
import { lineDocument } from './line-document.ts'

const model = 'daybreak-mini'
const server = await DaybreakProcess.start()
const userSays = (content: string) => [{ role: 'user' as const, content }]

serverTest('twelve prompts at once are continued as the reference continues them, up to 64 tokens', server, async (t, server) => {
  const maxTokens = 64
  const { cases } = readGreedyFixture()
  const texts = await Promise.all(cases.map(async ({ prompt }) =>
    (await server.client.completions.create({ model, prompt, max_tokens: maxTokens, temperature: 0 })).choices[0]))
  for (const [i, { name, tokens, text }] of cases.entries()) {
    const ended = tokens.length <= maxTokens
    const response = await server.post('/detokenize', { tokens: tokens.slice(0, maxTokens) })
    const { prompt: expected } = await response.json() as { prompt: string }
    t.ok(text.startsWith(expected), `${name}: what is expected is what was recorded`)
    t.match(texts[i], { text: expected.replace('<|end|>', ''), finish_reason: ended ? 'stop' : 'length' }, name)
  }
})

serverTest('the embedded model talks, adds and tells stories', server, async (t, server) => {
  const answer = async (content: string) => {
    const { choices: [choice], usage } = await server.client.chat.completions.create({ model, messages: userSays(content), temperature: 0, max_completion_tokens: 60 })
    return { content: choice?.message.content, finish: choice?.finish_reason, usage }
  }
  const [hello, sum, story] = await Promise.all([answer('Hello'), answer('12 + 30 = ?'), answer('Tell me a story about a dog.')])
  t.match(hello, { content: /^Hello! I am Daybreak Mini/, finish: 'stop' })
  t.match(sum, { content: '42', finish: 'stop', usage: { completion_tokens: 3 } })
  t.match(story, { content: /^Once upon a time, .* dog /, finish: 'length', usage: { completion_tokens: 60 } })
  t.equal(hello.usage?.total_tokens, (hello.usage?.prompt_tokens ?? 0) + (hello.usage?.completion_tokens ?? 0))
})

serverTest('lines of a document of about 1,000 tokens are known exactly, the second time from the cache', server, async (t, server) => {
  const { text, lines } = lineDocument(new SeededStream('document of 1,000'), 90)
  const ask = async (key: string) => await server.client.chat.completions.create({
    model, temperature: 0, messages: [{ role: 'system', content: text }, ...userSays(`What is line ${key}?`)]
  })
  for (const [i, { key, value }] of lines.filter((_, i) => i % 30 === 12).entries()) {
    const { choices: [choice], usage } = await ask(key)
    t.equal(choice?.message.content, value)
    t.ok((usage?.prompt_tokens ?? 0) > 850 && (usage?.prompt_tokens ?? 0) < 1_150, `${usage?.prompt_tokens} tokens`)
    const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0
    if (i > 0) t.ok(cached > 800, `${cached} of them cached`)
  }
})

serverTest('a stream has the tokens, log-probabilities and usage of the whole answer', server, async (t, server) => {
  const body = { model, messages: userSays('Tell me a story about a frog.'), temperature: 0.8, seed: 11, max_tokens: 24, logprobs: true, top_logprobs: 3 }
  const whole = await server.client.chat.completions.create(body)
  let text = ''
  const content = []
  const roles = []
  let usage
  for await (const chunk of await server.client.chat.completions.create({ ...body, stream: true, stream_options: { include_usage: true } })) {
    const choice = chunk.choices[0]
    text += choice?.delta.content ?? ''
    content.push(...choice?.logprobs?.content ?? [])
    if (choice?.delta.role !== undefined) roles.push(choice.delta.role)
    usage = chunk.usage ?? usage
  }
  t.equal(text, whole.choices[0]?.message.content)
  t.strictSame(content, whole.choices[0]?.logprobs?.content)
  t.equal(content.length, 24)
  for (const { logprob, top_logprobs: top } of content) {
    t.ok(logprob <= 0 && top.length === 3 && top.every(({ logprob: other }, i) => other <= 0 && other <= (top[i - 1]?.logprob ?? 0)))
  }
  t.strictSame(roles, ['assistant'])
  const { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: totalTokens } = usage ?? {}
  t.match(whole.usage, { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: totalTokens })
})

serverTest('choices differ by their seeds, and the same seed gives the same choices again', server, async (t, server) => {
  const ask = async (seed: number) => (await server.client.completions.create({ model, prompt: 'Once upon a time', n: 3, seed, temperature: 1, max_tokens: 12 })).choices.map(({ text }) => text)
  const [first, second, other] = await Promise.all([ask(5), ask(5), ask(6)])
  t.strictSame(second, first)
  t.equal(new Set(first).size, 3)
  // Choice i draws with seed + i.
  t.strictSame(other.slice(0, 2), first.slice(1))
})

serverTest('stop strings, echo with log-probabilities, biases and penalties work on real logits', server, async (t, server) => {
  const { client } = server
  const stopped = await client.chat.completions.create({ model, messages: userSays('Hello'), temperature: 0, stop: [' very small'] })
  t.match(stopped.choices[0], { message: { content: 'Hello! I am Daybreak Mini, a' }, finish_reason: 'stop' })

  const story = { model, prompt: 'Once upon a time, there was a big dog. The', temperature: 0 }
  const echoed = await client.completions.create({ ...story, echo: true, logprobs: 2, max_tokens: 4 })
  const { tokens = [], token_logprobs: scores = [] } = echoed.choices[0]?.logprobs ?? {}
  t.equal(tokens.join(''), echoed.choices[0]?.text)
  t.equal(scores[0], null)
  t.ok(scores.slice(1).every(score => score <= 0) && scores.some(score => score < -1))
  const again = await client.completions.create({ ...story, prompt: echoed.choices[0]?.text ?? '', echo: true, logprobs: 2, max_tokens: 1 })
  t.strictSame(again.choices[0]?.logprobs?.token_logprobs?.slice(0, scores.length), scores, 'scoring a text gives what generating it gave')

  const [first = NaN] = await tokensOf(server, tokens.at(-4) ?? '')
  const [dog = NaN] = await tokensOf(server, ' dog')
  const biased = async (bias: Record<string, number>) => (await client.completions.create({ ...story, max_tokens: 3, logprobs: 0, logit_bias: bias })).choices[0]?.logprobs?.tokens ?? []
  t.strictSame(await biased({ [dog]: 100 }), [' dog', ' dog', ' dog'])
  t.not((await biased({ [first]: -100 }))[0], tokens.at(-4), 'what would have come is forbidden')

  // Left to itself it repeats one line over and over.
  const [opening, separator] = [await tokensOf(server, '<|bos|>'), await tokensOf(server, '<|system|>')]
  const distinct = async (penalties: object) => {
    const { choices: [choice] } = await client.completions.create({ model, prompt: [...opening, ...separator], temperature: 0, max_tokens: 60, logprobs: 0, ...penalties, ...{ ignore_eos: true } })
    return new Set(choice?.logprobs?.tokens).size
  }
  const [plain, penalised] = await Promise.all([distinct({}), distinct({ presence_penalty: 2, frequency_penalty: 2 })])
  t.ok(penalised > plain, `${plain} different tokens among 60, with penalties ${penalised}`)
})

serverTest('what cannot be served is refused with the class and the code that clients expect', server, async (t, server) => {
  const { client } = server
  const messages = userSays('Hi')
  const refused = async (promise: Promise<unknown>, kind: typeof OpenAI.BadRequestError | typeof OpenAI.NotFoundError, code: string, param: string | null) => {
    const error = await promise.then(() => undefined, (error: unknown) => error)
    t.ok(error instanceof kind, `${code}: ${String(error)}`)
    t.match(error, { code, param })
  }
  await refused(client.chat.completions.create({ model: 'gpt-4o', messages }), OpenAI.NotFoundError, 'model_not_found', 'model')
  await refused(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError, 'invalid_value', 'messages')
  await refused(client.chat.completions.create({ model, messages, temperature: 3 }), OpenAI.BadRequestError, 'invalid_value', 'temperature')
  await refused(client.completions.create({ model, prompt: Array.from({ length: 8193 }, () => 5) }), OpenAI.BadRequestError, 'context_length_exceeded', 'prompt')
  await refused(client.completions.create({ model, prompt: [2048] }), OpenAI.BadRequestError, 'invalid_value', 'prompt')
  t.equal((await client.models.retrieve(model)).id, model)
})

serverTest('a client that aborts its stream frees what it held', server, async (t, server) => {
  const controller = new AbortController()
  const stream = await server.client.chat.completions.create(
    { model, messages: userSays('Tell me a story about a bird.'), stream: true, max_tokens: 4_000, ...{ ignore_eos: true } }, { signal: controller.signal })
  let numChunks = 0
  for await (const { choices } of stream) {
    if (choices[0]?.delta.content !== undefined && ++numChunks === 4) controller.abort()
  }
  t.ok(numChunks < 100, `${numChunks} chunks`)
  const metrics = await server.idle()
  t.equal(metrics.value('vllm:request_success_total', { finished_reason: 'abort' }), 1)
})

async function tokensOf (server: DaybreakProcess, prompt: string): Promise<number[]> {
  const { tokens } = await (await server.post('/tokenize', { prompt, add_special_tokens: false })).json() as { tokens: number[] }
  return tokens
}
