import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { FakeStream } from '../fakes/fake-generation-service.ts'
import { aServer, userSays } from './server-under-test.ts'
import type { ServerUnderTest } from './server-under-test.ts'

/** Posts over a bare socket, so that the test can cut it or stop reading as a failing client would. */
async function aRawRequest (server: ServerUnderTest, body: object): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1')
  await once(socket, 'connect')
  const text = JSON.stringify({ messages: userSays('Hi'), ...body })
  socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`)
  return socket
}

const phases: ReadonlyArray<readonly [phase: string, advance: (stream: FakeStream) => void]> = [
  ['queued', () => {}],
  ['prefill', stream => stream.scheduled()],
  ['decode', stream => {
    stream.scheduled()
    stream.token(0x61)
  }],
]

async function abortsCounted (server: ServerUnderTest, phase: string, cause: string): Promise<string | undefined> {
  const line = new RegExp(`^daybreak_aborts_total\\{phase="${phase}",cause="${cause}"\\} (\\d+)$`, 'm')
  return line.exec(await server.telemetry.render())?.[1]
}

for (const stream of [true, false]) {
  for (const [phase, advance] of phases) {
    t.test(`a client that leaves during ${phase} of a ${stream ? 'streamed' : 'whole'} answer has its generation aborted and freed`, async t => {
      const server = await aServer(t)
      const socket = await aRawRequest(server, { stream, n: 2 })
      const generation = await server.generation.stream(0)
      advance(generation)
      // The server has seen the events once a later step of its own has run: the headers and the first chunk, or a turn of the loop.
      if (stream) await untilReceived(socket, phase === 'decode' ? 'data: ' : 'text/event-stream')
      else await server.post('/tokenize', { prompt: 'x' })
      socket.destroy()
      await generation.until(({ aborted }) => aborted)
      t.ok(generation.released)
      t.equal(await abortsCounted(server, phase, 'disconnect'), '1')
      await server.app.drain()
      t.match(server.logLines.filter(line => line.includes('request-finished')).map(line => JSON.parse(line)), [{ reason: 'abort', cause: 'disconnect' }])
    })
  }
}

t.test('a client that leaves before its answer began is counted with 499, one that leaves during it with what it was sent', async t => {
  const server = await aServer(t)
  const counted = async (status: string): Promise<boolean> =>
    (await server.telemetry.render()).includes(`http_requests_total{handler="/v1/chat/completions",method="POST",status="${status}"} 1`)
  const whole = await aRawRequest(server, { stream: false })
  const generation = await server.generation.stream(0)
  whole.destroy()
  await generation.until(({ aborted }) => aborted)
  while (!await counted('4xx')) await new Promise(resolve => setImmediate(resolve))
  t.notOk(await counted('2xx'))

  const streamed = await aRawRequest(server, { stream: true })
  const second = await server.generation.stream(1)
  await untilReceived(streamed, 'text/event-stream')
  streamed.destroy()
  await second.until(({ aborted }) => aborted)
  while (!await counted('2xx')) await new Promise(resolve => setImmediate(resolve))
  t.ok(await counted('4xx'))
})

t.test('a client that leaves has the generations of its pipelined requests aborted, too', async t => {
  const server = await aServer(t)
  const text = JSON.stringify({ messages: userSays('Hi') })
  const request = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`
  const socket = connect(server.port, '127.0.0.1')
  socket.write(request + request)
  const generations = [await server.generation.stream(0), await server.generation.stream(1)]
  socket.destroy()
  for (const generation of generations) await generation.until(({ aborted }) => aborted)
  t.ok(generations.every(({ released }) => released))
})

t.test('a client that leaves while its prompt is tokenised never reaches the engine', async t => {
  const { promise: reached, resolve: reach } = withResolvers()
  const { promise: released, resolve: release } = withResolvers()
  const server = await aServer(t, {
    text: {
      beforeEncode: () => {
        reach()
        return released
      }
    }
  })
  const socket = await aRawRequest(server, { stream: true })
  await reached
  const closed = new Promise<void>(resolve => server.app.server.getConnections(() => resolve()))
  socket.destroy()
  await closed
  while (await abortsCounted(server, 'tokenizing', 'disconnect') !== '1') await new Promise(resolve => setImmediate(resolve))
  release()
  await server.app.drain()
  t.equal(server.generation.streams.length, 0)
})

t.test('breaking out of the official client\'s stream aborts the generation', async t => {
  const server = await aServer(t)
  const stream = server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), stream: true })
  const generation = await server.generation.stream(0)
  generation.scheduled()
  generation.token(0x61)
  const chunks = (await stream)[Symbol.asyncIterator]()
  t.equal((await chunks.next()).value.choices[0]?.delta.content, 'a')
  // What leaving a `for await` loop calls.
  await chunks.return?.()
  await generation.until(({ aborted }) => aborted)
  t.ok(generation.released)
})

t.test('a reader that stops reading pauses its own generation only, and resumes it when it has caught up', async t => {
  const server = await aServer(t, { config: { slowReaderBytes: 16384 } })
  const slow = await aRawRequest(server, { stream: true })
  slow.pause()
  const slowGeneration = await server.generation.stream(0)
  const other = server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), stream: true })
  const otherGeneration = await server.generation.stream(1)
  slowGeneration.scheduled()
  // Larger than what the kernel buffers on both sides can take: one step's tokens at a time until the server pauses it.
  for (let steps = 0; !slowGeneration.paused; steps++) {
    if (steps > 20_000) throw new Error('the reader was never found slow')
    slowGeneration.emit(...Array.from({ length: 50 }, () => slowGeneration.tokenEvent(0x61)))
    await new Promise(resolve => setImmediate(resolve))
  }
  otherGeneration.scheduled()
  otherGeneration.token(0x62)
  otherGeneration.finish('stop')
  let text = ''
  for await (const { choices } of await other) text += choices[0]?.delta.content ?? ''
  t.equal(text, 'b')
  t.strictSame(otherGeneration.pauses, [])

  slow.resume()
  await slowGeneration.until(({ paused }) => !paused)
  t.strictSame(slowGeneration.pauses, ['pause', 'resume'])
  slowGeneration.finish('stop')
  await untilReceived(slow, '[DONE]')
  slow.destroy()
})

t.test('a reader that stays slow for too long is cut off, and its generation freed', async t => {
  const server = await aServer(t, { config: { slowReaderBytes: 16384, slowReaderSeconds: 0.1 } })
  const slow = await aRawRequest(server, { stream: true })
  slow.pause()
  slow.on('error', () => {})
  const generation = await server.generation.stream(0)
  while (!generation.paused) {
    generation.emit(...Array.from({ length: 50 }, () => generation.tokenEvent(0x61)))
    await new Promise(resolve => setImmediate(resolve))
  }
  await generation.until(({ aborted }) => aborted)
  t.equal(await abortsCounted(server, 'decode', 'slow_reader'), '1')
  slow.destroy()
})

t.test('a silent stream gets keep-alive comments from admission on, which the client does not see', async t => {
  const server = await aServer(t, { config: { keepAliveSeconds: 0.02 } })
  const socket = await aRawRequest(server, { stream: true })
  const generation = await server.generation.stream(0)
  await untilReceived(socket, ': keep-alive\n\n')
  generation.scheduled()
  generation.token(0x61)
  await untilReceived(socket, 'data: ')
  await untilReceived(socket, ': keep-alive\n\n')
  generation.finish('stop')
  await untilReceived(socket, '[DONE]')
  socket.destroy()
  t.match(await server.telemetry.render(), /^daybreak_keep_alives_total [1-9]/m)

  const stream = server.client.chat.completions.create({ model: 'fake', messages: userSays('Hi'), stream: true })
  const second = await server.generation.stream(1)
  const response = await stream
  second.scheduled()
  second.token(0x61)
  second.finish('stop')
  let text = ''
  for await (const { choices } of response) text += choices[0]?.delta.content ?? ''
  t.equal(text, 'a')
})

/** Resolves once `text` has come since the last call. */
async function untilReceived (socket: Socket, text: string): Promise<void> {
  let received = ''
  const { promise, resolve } = withResolvers()
  const onData = (data: Buffer): void => {
    received = (received + data.toString('latin1')).slice(-65536)
    if (received.includes(text)) resolve()
  }
  socket.on('data', onData)
  await promise
  socket.off('data', onData)
}

function withResolvers (): { readonly promise: Promise<void>, readonly resolve: () => void } {
  let settle = (): void => {}
  const promise = new Promise<void>(resolve => { settle = resolve })
  return { promise, resolve: () => settle() }
}
