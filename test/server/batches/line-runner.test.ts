import t from 'tap'
import { ServiceUnavailableError } from '../../../apps/server/src/errors.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import { aLineRunner } from '../../fakes/fake-line-runner.ts'

const PATH = '/v1/completions'
const body = { prompt: 'tell me', max_tokens: 4 }

t.test('a request that is stopped while it is tokenised never reaches the engine', async t => {
  const stop = new AbortController()
  const { runner, generation } = aLineRunner({ text: { beforeEncode: () => { stop.abort(new Error('stopped')) } } })
  await t.rejects(runner.answer(PATH, body, undefined, stop.signal), { message: 'stopped' })
  t.equal(generation.streams.length, 0)
})

t.test('a request whose prompt has changed since it was grouped is answered alone', async t => {
  const { runner, generation } = aLineRunner({
    script: stream => {
      if (stream.request.prefixGroup === undefined) return says('yes')(stream)
      stream.finish('error', 0, { error: { code: 'invalid_request', message: 'the prompt does not begin with the prefix of its group' } })
    }
  })
  t.match(await runner.answer(PATH, body, { id: 'group', length: 4 }, new AbortController().signal), { status: 200 })
  t.strictSame(generation.streams.map(({ request }) => request.prefixGroup?.id), ['group', undefined])
})

t.test('a request waits for the engine as long as it takes, and has all its attempts behind that', async t => {
  let numSleeps = 0
  const { runner, generation } = aLineRunner({
    script: says('yes'),
    onSleep: generation => {
      numSleeps++
      generation.state = numSleeps >= 20 ? 'ready' : 'recovering'
      if (numSleeps === 23) generation.refusal = undefined
    }
  })
  generation.state = 'recovering'
  generation.refusal = new ServiceUnavailableError({ state: 'recovering' })
  t.match(await runner.answer(PATH, body, undefined, new AbortController().signal), { status: 200 })
})

t.test('a request that a ready engine refuses again and again is answered with that', async t => {
  const { runner, generation } = aLineRunner()
  generation.refusal = new ServiceUnavailableError({ state: 'busy' })
  t.match(await runner.answer(PATH, body, undefined, new AbortController().signal), { status: 503 })
})

t.test('only a few requests are tokenised at a time, so that the queue has room for others', async t => {
  let numNow = 0
  let most = 0
  const { runner } = aLineRunner({
    script: says('yes'),
    text: {
      beforeEncode: async () => {
        most = Math.max(most, ++numNow)
        await new Promise(resolve => setImmediate(resolve))
        numNow--
      }
    }
  })
  const answers = await Promise.all(Array.from({ length: 50 }, async () => await runner.answer(PATH, body, undefined, new AbortController().signal)))
  t.ok(answers.every(({ status }) => status === 200))
  t.equal(most, 4)
})

t.test('when there will be no engine any more, requests neither wait for it nor are blamed', async t => {
  const { runner, generation } = aLineRunner({ onSleep: generation => { generation.state = 'failed' } })
  const { signal } = new AbortController()
  generation.state = 'recovering'
  generation.refusal = new ServiceUnavailableError({ state: 'recovering' })
  await t.rejects(runner.answer(PATH, body, undefined, signal), { code: 'SERVER_UNAVAILABLE', details: { state: 'failed' } })
  await t.rejects(runner.ready(signal), { code: 'SERVER_UNAVAILABLE' })
})
