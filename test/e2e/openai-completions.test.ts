import t from 'tap'
import { fakeBos, fakeEos } from '../fakes/fake-text-service.ts'
import { logprobOf, says } from '../fakes/fake-generation-service.ts'
import { aServer } from '../server/server-under-test.ts'

t.test('a plain completion continues a string, with 16 tokens unless asked otherwise', async t => {
  const { client, generation } = await aServer(t, { script: says(' upon a time, in a faraway land') })
  const answer = await client.completions.create({ model: 'fake', prompt: 'Once' })
  t.match(answer, { object: 'text_completion', choices: [{ text: ' upon a time, in', index: 0, finish_reason: 'length', logprobs: null }] })
  t.strictSame(generation.streams[0]?.request.promptTokens, [fakeBos, ...Buffer.from('Once')])
  t.equal(generation.streams[0]?.request.maxTokens, 16)
})

t.test('every form of prompt is accepted, and choice c of prompt p has index p times n plus c', async t => {
  const { client, generation } = await aServer(t, { script: stream => says(`(${stream.request.promptTokens.length})`, { eos: fakeEos })(stream) })
  const texts = async (prompt: string | string[] | number[] | number[][], n = 1) =>
    (await client.completions.create({ model: 'fake', prompt, n })).choices.map(({ index, text }) => `${index}${text}`)
  t.strictSame(await texts(['a', 'bc']), ['0(2)', '1(3)'])
  t.strictSame(await texts([5, 6, 7]), ['0(3)'])
  t.strictSame(await texts([[5], [6, 7]], 2), ['0(1)', '1(1)', '2(2)', '3(2)'])
  t.strictSame(generation.streams.at(-1)?.request.promptTokens, [6, 7])
})

t.test('prompts of one request stream side by side under one id', async t => {
  const { client } = await aServer(t, { script: stream => says(`<${stream.request.promptTokens.length}>`)(stream) })
  const texts = ['', '']
  const ids = new Set<string>()
  for await (const { id, choices: [choice] } of await client.completions.create({ model: 'fake', prompt: ['a', 'bc'], stream: true })) {
    ids.add(id)
    if (choice !== undefined) texts[choice.index] += choice.text
  }
  t.strictSame(texts, ['<2>', '<3>'])
  t.equal(ids.size, 1)
})

t.test('logprobs are parallel arrays with offsets in characters; a token that is no whole character shows its bytes', async t => {
  const { client } = await aServer(t, { script: says('🌍aé', { eos: fakeEos }) })
  const answer = await client.completions.create({ model: 'fake', prompt: 'x', logprobs: 1 })
  const { tokens, token_logprobs: logprobs, text_offset: offsets, top_logprobs: top } = answer.choices[0]?.logprobs ?? {}
  t.strictSame(tokens, ['bytes:\\xf0', 'bytes:\\x9f', 'bytes:\\x8c', 'bytes:\\x8d', 'a', 'bytes:\\xc3', 'bytes:\\xa9'])
  t.strictSame(logprobs, [0xf0, 0x9f, 0x8c, 0x8d, 0x61, 0xc3, 0xa9].map(logprobOf))
  t.strictSame(offsets, [0, 0, 0, 0, 1, 2, 2])
  t.strictSame(top?.[4], { a: logprobOf(0x61) })
})

t.test('echo puts the prompt first, with its own log-probabilities, whole and streamed', async t => {
  const { client } = await aServer(t, { script: says('!', { eos: fakeEos }) })
  const request = { model: 'fake', prompt: 'Hé', echo: true, logprobs: 0 }
  const choice = (await client.completions.create(request)).choices[0]
  t.equal(choice?.text, 'Hé!')
  t.strictSame(choice?.logprobs?.tokens, ['<s>', 'H', 'bytes:\\xc3', 'bytes:\\xa9', '!'])
  t.strictSame(choice?.logprobs?.token_logprobs, [null, ...[0x48, 0xc3, 0xa9, 0x21].map(logprobOf)])
  t.equal(choice?.logprobs?.top_logprobs?.[0], null)
  t.strictSame(choice?.logprobs?.text_offset, [0, 0, 1, 1, 2], 'offsets are in the text shown, which has no <s>')

  let text = ''
  const tokens: string[] = []
  for await (const { choices } of await client.completions.create({ ...request, stream: true })) {
    text += choices[0]?.text ?? ''
    tokens.push(...choices[0]?.logprobs?.tokens ?? [])
  }
  t.equal(text, 'Hé!')
  t.strictSame(tokens, choice?.logprobs?.tokens)
})

t.test('echo with max_tokens 0 scores the prompt and generates nothing', async t => {
  const { client, generation } = await aServer(t, { script: says('never') })
  const answer = await client.completions.create({ model: 'fake', prompt: [72, 105], echo: true, logprobs: 2, max_tokens: 0 })
  t.equal(answer.choices[0]?.text, 'Hi')
  t.equal(answer.choices[0]?.finish_reason, 'length')
  t.strictSame(answer.choices[0]?.logprobs?.token_logprobs, [null, logprobOf(105)])
  t.equal(answer.usage?.completion_tokens, 0)
  t.match(generation.streams[0]?.request, { maxTokens: 0, promptLogprobs: 2 })
  let streamed = ''
  for await (const { choices } of await client.completions.create({ model: 'fake', prompt: [72, 105], echo: true, max_tokens: 0, stream: true })) streamed += choices[0]?.text ?? ''
  t.equal(streamed, 'Hi')
})

t.test('an incomplete character at the end is shown as a replacement character', async t => {
  const { client } = await aServer(t, {
    script: stream => {
      stream.scheduled()
      stream.token(0x61)
      stream.token(0xf0)
      stream.token(0x9f)
      stream.finish('length')
    }
  })
  t.equal((await client.completions.create({ model: 'fake', prompt: 'x' })).choices[0]?.text, 'a\ufffd')
})
