import { join } from 'node:path'
import t from 'tap'
import { RandomStream } from '../../../apps/server/src/bench/random-stream.ts'
import { customRequests, shareGptRequests } from '../../../apps/server/src/bench/serve/datasets/dataset-files.ts'
import { asText } from '../../../apps/server/src/bench/serve/datasets/text-prompts.ts'
import { prefixRepetitionRequests, randomRequests } from '../../../apps/server/src/bench/serve/datasets/token-prompts.ts'
import { ServerClient } from '../../../apps/server/src/bench/serve/server-client.ts'
import { ServerText } from '../../../apps/server/src/bench/serve/server-text.ts'
import { fakeServer, sendJson } from './fake-server.ts'

/** A server whose tokens are characters. */
async function characterServer (t: { teardown: (end: () => Promise<void>) => void }, { knows = ['/tokenize', '/detokenize'] } = {}): Promise<ServerText> {
  const server = await fakeServer(({ path, body }, response) => {
    if (!knows.includes(path)) sendJson(response, 404, { error: { message: 'no such route' } })
    else if (path === '/tokenize') sendJson(response, 200, { tokens: [...String(body?.['prompt'])].map(character => character.codePointAt(0) ?? 0) })
    else sendJson(response, 200, { prompt: Array.isArray(body?.['tokens']) ? String.fromCodePoint(...body['tokens']) : '' })
  })
  const client = new ServerClient(server.url, {})
  t.teardown(async () => {
    client.close()
    await server[Symbol.asyncDispose]()
  })
  return new ServerText(client, 'tiny')
}

t.test('random prompts share their prefix and differ behind it', async t => {
  const workload = { numPrompts: 50, vocabSize: 300, inputLen: 40, outputLen: 8, rangeRatio: 0, prefixLen: 16 }
  const requests = randomRequests(workload, new RandomStream(1))
  t.equal(requests.length, 50)
  for (const { prompt, promptTokens, outputTokens } of requests) {
    t.strictSame([prompt.length, promptTokens, outputTokens], [56, 56, 8])
    t.ok(prompt.every(token => Number.isInteger(token) && token >= 0 && token < 300))
    t.strictSame(prompt.slice(0, 16), requests[0]?.prompt.slice(0, 16))
  }
  t.equal(new Set(requests.map(({ prompt }) => prompt.join())).size, 50)
  t.strictSame(randomRequests(workload, new RandomStream(1)), requests, 'the seed decides')
})

t.test('lengths range over the ratio, both ends included, and stay above zero', async t => {
  const requests = randomRequests({ numPrompts: 2000, vocabSize: 5, inputLen: 10, outputLen: 4, rangeRatio: 0.5, prefixLen: 0 }, new RandomStream(2))
  t.strictSame([...new Set(requests.map(({ promptTokens }) => promptTokens))].sort((a, b) => a - b), [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
  t.strictSame([...new Set(requests.map(({ outputTokens }) => outputTokens))].sort((a, b) => a - b), [2, 3, 4, 5, 6])
  const tiny = randomRequests({ numPrompts: 200, vocabSize: 5, inputLen: 1, outputLen: 1, rangeRatio: 0.99, prefixLen: 0 }, new RandomStream(2))
  t.ok(tiny.every(({ promptTokens, outputTokens }) => promptTokens >= 1 && outputTokens >= 1))
})

t.test('repeated prefixes are used evenly, in random order', async t => {
  const requests = prefixRepetitionRequests({ numPrompts: 40, vocabSize: 1000, numPrefixes: 4, prefixLen: 30, suffixLen: 5, outputLen: 2 }, new RandomStream(3))
  const prefixes = requests.map(({ prompt }) => prompt.slice(0, 30).join())
  const uses = [...new Set(prefixes)].map(prefix => prefixes.filter(other => other === prefix).length)
  t.strictSame(uses, [10, 10, 10, 10])
  t.ok(requests.every(({ promptTokens }) => promptTokens === 35))
  t.notOk(prefixes.every((prefix, i) => prefix === prefixes[i % 4]), 'not in rotation')
})

t.test('token prompts become text through the server, or words where it cannot', async t => {
  const tokens = [{ prompt: [72, 105], promptTokens: 2, outputTokens: 3 }]
  t.strictSame(await asText(tokens, await characterServer(t), new RandomStream(0)), [{ prompt: 'Hi', promptTokens: 2, outputTokens: 3 }])
  const [words] = await asText(tokens, await characterServer(t, { knows: [] }), new RandomStream(0))
  t.match(words?.prompt, /^[a-z]+ [a-z]+$/)
})

t.test('the vocabulary is what the server says, else bounded by the ids of a sentence', async t => {
  t.equal(await (await characterServer(t)).vocabSize(), 'é'.charCodeAt(0) + 1)
  t.equal(await (await characterServer(t, { knows: [] })).vocabSize(), undefined)
  await using telling = await fakeServer((_, response) => { sendJson(response, 200, { tokens: [1], vocab_size: 2048 }) })
  const client = new ServerClient(telling.url, {})
  t.equal(await new ServerText(client, 'tiny').vocabSize(), 2048)
  client.close()
})

t.test('custom prompts are read line by line, counted and repeated', async t => {
  const path = join(t.testdir({ 'prompts.jsonl': '{"prompt":"Hello"}\n\n{"prompt":"Hi","output_tokens":5}\n' }), 'prompts.jsonl')
  t.strictSame(await customRequests(path, 3, 64, await characterServer(t)), [
    { prompt: 'Hello', promptTokens: 5, outputTokens: 64 },
    { prompt: 'Hi', promptTokens: 2, outputTokens: 5 },
    { prompt: 'Hello', promptTokens: 5, outputTokens: 64 }
  ])
  const estimating = await characterServer(t, { knows: [] })
  t.equal((await customRequests(path, 1, 64, estimating))[0]?.promptTokens, 2)
  t.equal(estimating.isExact, false)
})

t.test('a damaged dataset is refused with its line', async t => {
  const files = t.testdir({ nonsense: '{"prompt":"ok"}\n{', unnamed: '{"text":"x"}\n', empty: '\n', object: '{}' })
  const text = await characterServer(t)
  await t.rejects(customRequests(join(files, 'nonsense'), 2, 1, text), { code: 'BENCH_DATASET', details: { line: 2 }, message: /nonsense:2: is not JSON/ })
  await t.rejects(customRequests(join(files, 'unnamed'), 2, 1, text), { code: 'BENCH_DATASET', details: { line: 1 } })
  await t.rejects(customRequests(join(files, 'empty'), 2, 1, text), { code: 'BENCH_DATASET' })
  await t.rejects(shareGptRequests(join(files, 'object'), 2, 1, text, new RandomStream(0)), { code: 'BENCH_DATASET' })
})

t.test('ShareGPT conversations give their first two turns, short and long ones left out', async t => {
  const conversation = (...values: string[]): object => ({ conversations: values.map(value => ({ from: 'x', value })) })
  const path = join(t.testdir({
    'sharegpt.json': JSON.stringify([
      conversation('What is it?', 'A dog, I say.', 'More'),
      conversation('Hm', 'A long answer'),
      conversation('x'.repeat(1025), 'An answer'),
      conversation('A question', 'y'.repeat(2048)),
      conversation('Alone here'),
      { no: 'turns' },
      null
    ])
  }), 'sharegpt.json')
  const text = await characterServer(t)
  const random = new RandomStream(0)
  t.strictSame(await shareGptRequests(path, 2, undefined, text, random), Array.from({ length: 2 }, () => ({ prompt: 'What is it?', promptTokens: 11, outputTokens: 13 })))
  const fixed = await shareGptRequests(path, 2, 64, text, random)
  t.strictSame(fixed.map(({ outputTokens }) => outputTokens), [64, 64])
  t.same(new Set(fixed.map(({ prompt }) => prompt)), new Set(['What is it?', 'A question']))
})
