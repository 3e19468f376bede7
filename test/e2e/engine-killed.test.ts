import { readGreedyFixture } from '../fixtures/read-fixtures.ts'
import { DaybreakProcess, serverTest } from './daybreak-process.ts'

/** Long enough that every stream is in its middle when the engine dies. */
const MAX_TOKENS = 60
const model = 'daybreak-mini'
const server = await DaybreakProcess.start()

interface StreamRequest {
  readonly prompt: number[]
  readonly max_tokens: number
  readonly temperature: number
  readonly seed?: number
}

/** What a reader gets: every token's text, and its log-probability to the last bit. */
interface Read {
  text: string
  readonly tokens: string[]
  readonly logprobs: Array<number | null>
  finish: string | null
}

serverTest('when the engine is killed, streams pause and go on with the tokens they would have had', server, async (t, server) => {
  const cases = new Map(readGreedyFixture().cases.map(({ name, ...rest }) => [name, rest]))
  const promptOf = (name: string): number[] => cases.get(name)?.prompt ?? []
  const stories = ['story', 'story-continued', 'story-raw'].map(promptOf)
  const requests: StreamRequest[] = [
    ...stories.map(prompt => ({ prompt, max_tokens: MAX_TOKENS, temperature: 0 })),
    ...stories.map((prompt, seed) => ({ prompt, max_tokens: MAX_TOKENS, temperature: 1, seed, top_p: 0.95, frequency_penalty: 0.2 }))
  ]
  const late: StreamRequest = { prompt: promptOf('lines'), max_tokens: 16, temperature: 0 }

  const read = async (request: StreamRequest, onToken: (numTokens: number) => void = () => {}): Promise<Read> => {
    const result: Read = { text: '', tokens: [], logprobs: [], finish: null }
    for await (const { choices: [choice] } of await server.client.completions.create({ model, logprobs: 1, stream: true, ...request })) {
      result.text += choice?.text ?? ''
      result.tokens.push(...choice?.logprobs?.tokens ?? [])
      result.logprobs.push(...choice?.logprobs?.token_logprobs ?? [])
      result.finish = choice?.finish_reason ?? result.finish
      onToken(result.tokens.length)
    }
    return result
  }

  const undisturbed = await Promise.all([...requests, late].map(request => read(request)))
  t.ok(undisturbed.slice(0, -1).every(({ tokens, finish }) => tokens.length === MAX_TOKENS && finish === 'length'))
  t.equal(undisturbed.at(-1)?.text, cases.get('lines')?.text.replace('<|end|>', ''))

  const pid = server.enginePid
  // Each stream is somewhere else when the engine dies, the last one not even begun.
  const begun = requests.map((_, i) => {
    const { promise, resolve } = withResolvers()
    return { promise, onToken: (numTokens: number) => { if (numTokens > 4 * i) resolve() } }
  })
  const disturbed = requests.map((request, i) => read(request, begun[i]?.onToken))
  await Promise.all(begun.map(({ promise }) => promise))
  const lateRead = read(late)
  process.kill(pid, 'SIGKILL')

  await server.logged('engine-died')
  t.equal(await server.probe('/ready'), '503 recovering')
  t.equal(await server.probe('/health'), '200 ok', 'it is being helped already: nobody need replace the server')
  const during = server.client.chat.completions.create({ model, messages: [{ role: 'user', content: '12 + 30 = ?' }], temperature: 0 })

  await server.logged('engine-ready', 2)
  const { numReplayed } = await server.logged('requests-replayed')
  t.ok(Number(numReplayed) > requests.length, `${String(numReplayed)} requests were unfinished`)
  t.equal(await server.probe('/ready'), '200 ready')
  t.not(server.enginePid, pid)
  t.equal((await during).choices[0]?.message.content, '42', 'what came in the meantime was not refused')
  for (const [i, expected] of undisturbed.entries()) {
    t.strictSame(await (disturbed[i] ?? lateRead), expected, `stream ${i}`)
  }

  const metrics = await server.idle()
  t.equal(metrics.value('daybreak_engine_restarts_total'), 1)
  const success = metrics.value('vllm:request_success_total', { finished_reason: 'length' })
  t.equal(success, 2 * requests.length)
  t.equal(metrics.value('vllm:request_success_total', { finished_reason: 'error' }), 0)
  t.equal(metrics.value('vllm:generation_tokens_total'), metrics.histogram('vllm:request_generation_tokens').sum, 'no token was counted twice')
})

/** `Promise.withResolvers`, which Node 20 lacks. */
function withResolvers (): { readonly promise: Promise<void>, readonly resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>(_resolve => { resolve = _resolve })
  return { promise, resolve }
}
