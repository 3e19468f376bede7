import t from 'tap'
import { fakeEos, fakeBos } from '../fakes/fake-text-service.ts'
import { logprobOf, says } from '../fakes/fake-generation-service.ts'
import { aServer, dataOf, userSays } from '../server/server-under-test.ts'

t.test('a chat completion answers with the text, the usage and the name that was asked for', async t => {
  const { client, generation } = await aServer(t, { script: says('Hello, wörld 🌍!', { eos: fakeEos, cachedTokens: 5 }) })
  const answer = await client.chat.completions.create({ model: 'org/fake', messages: userSays('Hi') })
  t.equal(answer.choices[0]?.message.content, 'Hello, wörld 🌍!')
  t.equal(answer.choices[0]?.message.role, 'assistant')
  t.equal(answer.choices[0]?.finish_reason, 'stop')
  t.equal(answer.model, 'org/fake')
  t.match(answer.id, /^chatcmpl-[0-9a-f]{32}$/)
  const promptTokens = 'user: Hi\nassistant: '.length
  const completionTokens = Buffer.byteLength('Hello, wörld 🌍!') + 1
  t.match(answer.usage, {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: 5 },
  })
  t.match(generation.streams[0]?.request, { stopTokens: [fakeEos], maxTokens: 1000 - promptTokens, priority: 0 })
})

t.test('a streamed chat completion sends the role with the first text, then text, the finish, the usage and [DONE]', async t => {
  const { client, post } = await aServer(t, { script: says('Hé🌍', { eos: fakeEos }) })
  const body = { model: 'fake', messages: userSays('Hi'), stream: true as const, stream_options: { include_usage: true } }
  const chunks = []
  for await (const chunk of await client.chat.completions.create(body)) chunks.push(chunk)
  t.strictSame(chunks.map(({ choices }) => choices[0]?.delta), [{ role: 'assistant', content: 'H' }, { content: 'é' }, { content: '🌍' }, {}, undefined])
  t.strictSame(chunks.map(({ choices }) => choices[0]?.finish_reason), [null, null, null, 'stop', undefined])
  t.strictSame(chunks.map(({ usage }) => usage === null), [true, true, true, true, false])
  t.equal(chunks.at(-1)?.usage?.completion_tokens, 8)
  t.equal(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size, 1)

  const raw = await post('/v1/chat/completions', body)
  t.equal(raw.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  t.equal(raw.headers.get('cache-control'), 'no-cache')
  t.equal(raw.headers.get('x-accel-buffering'), 'no')
  t.equal(raw.headers.get('content-length'), null)
  t.match(raw.headers.get('x-request-id'), /^req_/)
  t.equal(dataOf(await raw.text()).at(-1), '[DONE]')
})

t.test('without include_usage no chunk mentions usage; with continuous_usage_stats every chunk has running totals', async t => {
  const { post } = await aServer(t, { script: says('abc') })
  const ask = async (streamOptions: object) => {
    const response = await post('/v1/chat/completions', { messages: userSays('Hi'), stream: true, ...streamOptions })
    return dataOf(await response.text()).slice(0, -1).map(data => JSON.parse(data))
  }
  t.notOk((await ask({})).some(chunk => 'usage' in chunk))
  const continuous = await ask({ stream_options: { include_usage: true, continuous_usage_stats: true } })
  t.strictSame(continuous.map(({ usage }) => usage.completion_tokens), [1, 2, 3, 3, 3])
})

t.test('every choice is streamed under its own index, with its own role and its own seed', async t => {
  const { client, generation } = await aServer(t, { script: says('ok') })
  const texts = ['', '', '']
  const roles = [0, 0, 0]
  for await (const { choices: [choice] } of await client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), n: 3, seed: -1, stream: true })) {
    if (choice === undefined) continue
    texts[choice.index] += choice.delta.content ?? ''
    if (choice.delta.role !== undefined) roles[choice.index] = (roles[choice.index] ?? 0) + 1
  }
  t.strictSame(texts, ['ok', 'ok', 'ok'])
  t.strictSame(roles, [1, 1, 1])
  t.strictSame(generation.streams[0]?.request.choices.map(({ sampling }) => sampling.seed), [0xffffffff, 0, 1])
})

t.test('logprobs carry the token, its bytes and the alternatives, also for parts of a character', async t => {
  const { client } = await aServer(t, { script: says('aé', { eos: fakeEos }) })
  const answer = await client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), logprobs: true, top_logprobs: 2 })
  const content = answer.choices[0]?.logprobs?.content ?? []
  t.strictSame(content.map(({ token }) => token), ['a', '\\xc3', '\\xa9'])
  t.strictSame(content.map(({ bytes }) => bytes), [[0x61], [0xc3], [0xa9]])
  t.strictSame(content.map(({ logprob }) => logprob), [0x61, 0xc3, 0xa9].map(logprobOf))
  t.strictSame(content[0]?.top_logprobs.map(({ token }) => token), ['a', 'b'])

  const streamed = []
  for await (const { choices: [choice] } of await client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), logprobs: true, top_logprobs: 2, stream: true })) {
    streamed.push(...choice?.logprobs?.content ?? [])
  }
  t.strictSame(streamed, content)
})

t.test('sampling parameters reach the engine as asked, and OpenAI\'s defaults when not', async t => {
  const { client, generation } = await aServer(t, { script: says('x') })
  await client.chat.completions.create({ model: 'fake', messages: userSays('Hi') })
  t.match(generation.sampling(0), { temperature: 1, topP: 1, topK: 0, minP: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1, logitBias: [], numLogprobs: undefined })
  t.ok(Number.isInteger(generation.sampling(0)?.seed))
  const vllmParameters = { top_k: 40, min_p: 0.05, repetition_penalty: 1.1, ignore_eos: true, priority: -3, stop_token_ids: [65] }
  await client.chat.completions.create({
    model: 'fake', messages: userSays('Hi'), temperature: 0, top_p: 0.5, seed: 7, presence_penalty: 1, frequency_penalty: -1, logit_bias: { 10: -100 }, max_completion_tokens: 9, ...vllmParameters,
  })
  t.strictSame(generation.sampling(1), {
    temperature: 0, topP: 0.5, topK: 40, minP: 0.05, seed: 7, presencePenalty: 1, frequencyPenalty: -1, repetitionPenalty: 1.1, logitBias: [[10, -100]], numLogprobs: undefined,
  })
  t.match(generation.streams[1]?.request, { maxTokens: 9, stopTokens: [65], priority: -3 })
})

t.test('a stop token\'s text stays out of the answer; one the caller named is the stop_reason', async t => {
  const { client } = await aServer(t, {
    script: stream => {
      stream.scheduled()
      stream.token(0x61)
      stream.token(0x62)
      stream.finish('stop', 0, { stopToken: 0x62 })
    }
  })
  const answer = await client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), ...{ stop_token_ids: [0x62] } })
  t.match(answer.choices[0], { message: { content: 'a' }, finish_reason: 'stop', stop_reason: 0x62 })
  t.equal(answer.usage?.completion_tokens, 2)
})

t.test('a stop string ends the answer before it, aborts that choice at once and leaks nothing', async t => {
  const { client, generation } = await aServer(t, {
    script: stream => {
      stream.scheduled()
      for (const choice of [0, 1]) for (const byte of Buffer.from(choice === 0 ? 'one END two' : 'one EN')) stream.token(byte, choice)
      stream.finish('length', 1)
    }
  })
  const request = { model: 'fake', messages: userSays('Hi'), n: 2, stop: ['END', 'never'], logprobs: true }
  const answer = await client.chat.completions.create(request)
  t.match(answer.choices, [{ message: { content: 'one ' }, finish_reason: 'stop', stop_reason: 'END' }, { message: { content: 'one EN' }, finish_reason: 'length', stop_reason: null }])
  t.strictSame(answer.choices.map(({ logprobs }) => logprobs?.content?.map(({ token }) => token).join('')), ['one ', 'one EN'])
  t.ok(generation.streams[0]?.abortedChoices.has(0))
  t.notOk(generation.streams[0]?.abortedChoices.has(1))

  const texts = ['', '']
  for await (const { choices: [choice] } of await client.chat.completions.create({ ...request, stream: true })) {
    if (choice !== undefined) texts[choice.index] += choice.delta.content ?? ''
  }
  t.strictSame(texts, ['one ', 'one EN'])
})

t.test('the forms of messages that clients send back are accepted', async t => {
  const { client, text, generation } = await aServer(t, { script: says('x') })
  const tools = [{ type: 'function' as const, function: { name: 'add', parameters: { type: 'object' } } }]
  await client.chat.completions.create({
    model: 'fake',
    messages: [
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] },
      { role: 'assistant', content: null, refusal: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'add', arguments: '{}' } }] },
      { role: 'tool', tool_call_id: 'call_1', content: '3' },
    ],
    tools,
    tool_choice: 'auto',
    parallel_tool_calls: true,
    metadata: { a: 'b' },
    store: false,
    user: 'someone',
  })
  t.equal(Buffer.from(generation.streams[0]?.request.promptTokens ?? []).toString(), 'system: Be brief.\nuser: a\nb\nassistant: \ntool: 3\nassistant: ')
  t.strictSame(text.seenTools, [tools])
  await client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), tools, tool_choice: 'none' })
  t.equal(text.seenTools[1], undefined)
})

t.test('special tokens are shown only when asked for', async t => {
  const { post } = await aServer(t, {
    script: stream => {
      stream.scheduled()
      stream.token(fakeBos)
      stream.token(0x61)
      stream.finish('length')
    }
  })
  const content = async (body: object) => JSON.parse(await (await post('/v1/chat/completions', { messages: userSays('Hi'), ...body })).text()).choices[0].message.content
  t.equal(await content({}), 'a')
  t.equal(await content({ skip_special_tokens: false }), '<s>a')
})

t.test('streams side by side never mix: each of 40 clients gets the words of its own prompt, character for character', async t => {
  // The fake says the prompt back, a token per turn of the event loop, so that all streams interleave.
  const { client } = await aServer(t, {
    script: stream => {
      stream.scheduled()
      const tokens = [...stream.request.promptTokens]
      const step = (): void => {
        const token = tokens.shift()
        if (token === undefined) return stream.finish('stop')
        stream.token(token)
        setImmediate(step)
      }
      step()
    }
  })
  const echo = async (word: string): Promise<string> => {
    let text = ''
    for await (const { choices } of await client.chat.completions.create({ model: 'fake', messages: userSays(word), stream: true })) text += choices[0]?.delta.content ?? ''
    return text
  }
  const words = Array.from({ length: 40 }, (_, i) => `canary-${i}-é🌍-${i * 7919}`)
  t.strictSame(await Promise.all(words.map(echo)), words.map(word => `user: ${word}\nassistant: `))
})
