import t from 'tap'
import { TextBusyError, TextTooLongError } from '../../apps/server/src/text/index.ts'
import { aServer, userSays } from './server-under-test.ts'

t.test('a seed is any integer, also one of 64 bits, and the engine draws with its low 32 bits', async t => {
  const server = await aServer(t)
  const seeds: ReadonlyArray<readonly [text: string, drawn: number]> = [
    ['0', 0], ['-1', 2 ** 32 - 1], ['4294967297', 1], ['9223372036854775807', 0], ['-9223372036854773760', 2048], ['1e300', 0]
  ]
  for (const [i, [seed, drawn]] of seeds.entries()) {
    const answer = server.post('/v1/completions', `{"prompt":"a","seed":${seed},"max_tokens":1}`)
    const generation = await server.generation.stream(i)
    t.equal(generation.request.choices[0]?.sampling.seed, drawn, seed)
    generation.scheduled()
    generation.finish('length')
    t.equal((await answer).status, 200)
  }
  for (const seed of ['0.5', '"1"', '1e999', '[]']) {
    const answer = await server.post('/v1/completions', `{"prompt":"a","seed":${seed}}`)
    t.equal(answer.status, 400, seed)
    t.match(await answer.json(), { error: { param: 'seed' } })
  }
})

t.test('a text that was refused before tokenising has the code of one that is too long, and names its parameter', async t => {
  const server = await aServer(t, { text: { beforeEncode: () => { throw new TextTooLongError({ bytes: 1e6, fewestTokens: 5000, maxTokens: 4096 }) } } })
  const requests = [['/v1/completions', { prompt: ['a', 'b'] }, 'prompt[0]'], ['/v1/chat/completions', { messages: userSays('a') }, 'messages']] as const
  for (const [path, body, param] of requests) {
    const answer = await server.post(path, body)
    t.equal(answer.status, 400)
    t.match(await answer.json(), { error: { code: 'context_length_exceeded', param, message: /4096.*5000/ } })
  }
})

t.test('texts beyond what may wait for a tokenizer are a 503 that may be tried again', async t => {
  const server = await aServer(t, { text: { beforeEncode: () => { throw new TextBusyError({ numWaiting: 256, limit: 256 }) } } })
  const answer = await server.post('/v1/completions', { prompt: 'a' })
  t.equal(answer.status, 503)
  t.ok(answer.headers.get('retry-after'))
  t.match(await answer.json(), { error: { code: 'service_unavailable' } })
})

t.test('each prompt is tokenised in the knowledge of how much text the request has in all', async t => {
  const seen: Array<number | undefined> = []
  const server = await aServer(t, { text: { beforeEncode: (_text, { requestCharacters }) => { seen.push(requestCharacters) } } })
  const answer = server.post('/v1/completions', { prompt: ['abc', 'defgh'], max_tokens: 1 })
  for (const i of [0, 1]) {
    const generation = await server.generation.stream(i)
    generation.scheduled()
    generation.finish('length')
  }
  t.equal((await answer).status, 200)
  t.same(seen, [8, 8])
})

t.test('prompts that even an empty queue has no room for together are a 400, as trying again cannot help', async t => {
  const server = await aServer(t, { script: stream => { stream.scheduled(); stream.finish('length') } })
  server.generation.queueLimits = { maxRequests: 3, maxTokens: 20 }
  const statusOf = async (prompt: unknown): Promise<number> => (await server.post('/v1/completions', { prompt, max_tokens: 1, add_special_tokens: false })).status
  t.equal(await statusOf(['a', 'b', 'c']), 200)
  t.equal(await statusOf(['a', 'b', 'c', 'd']), 400, 'too many')
  t.equal(await statusOf(['a'.repeat(10), 'b'.repeat(10)]), 200)
  t.equal(await statusOf(['a'.repeat(10), 'b'.repeat(11)]), 400, 'too long together')
  t.equal(await statusOf('a'.repeat(100)), 200, 'a single one finds an empty queue some day')
})
