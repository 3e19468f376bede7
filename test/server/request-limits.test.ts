import t from 'tap'
import { aServer } from './server-under-test.ts'

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
