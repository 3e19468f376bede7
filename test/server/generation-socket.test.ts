import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { says } from '../fakes/fake-generation-service.ts'
import { aServer, userSays } from './server-under-test.ts'
import type { ServerUnderTest } from './server-under-test.ts'

interface Frame {
  readonly type: 'chunk' | 'done' | 'error'
  readonly id: string | null
  readonly status?: number
  readonly data?: { readonly id: string, readonly choices: ReadonlyArray<{ readonly delta?: { readonly content?: string }, readonly text?: string, readonly finish_reason: string | null }>, readonly usage?: object }
  readonly error?: { readonly code: string, readonly param: string | null, readonly message: string }
}

/** A connected client that keeps what it has received. */
async function aSocket (t: Test, server: ServerUnderTest, path = '/v1/chat/completions') {
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}${path}`)
  const frames: Frame[] = []
  let wake = (): void => {}
  socket.on('message', data => {
    frames.push(JSON.parse(String(data)))
    wake()
  })
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  return {
    socket,
    frames,
    send: (frame: unknown) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    async until (condition: (frames: readonly Frame[]) => boolean) {
      while (!condition(frames)) await new Promise<void>(resolve => { wake = resolve })
    },
    textOf: (id: string) => frames.filter(frame => frame.id === id).map(frame => frame.data?.choices[0]?.delta?.content ?? frame.data?.choices[0]?.text ?? '').join(''),
  }
}

const ends = (id: string) => (frames: readonly Frame[]): boolean => frames.some(frame => frame.id === id && frame.type !== 'chunk')
const request = (id: string, body: object = {}) => ({ type: 'request', id, body: { messages: userSays('Hi'), ...body } })

t.test('a request streams its chunks and is done, whether or not it asks for a stream', async t => {
  const server = await aServer(t, { script: says('Hé🌍') })
  const client = await aSocket(t, server)
  client.send(request('a', { stream: true, stream_options: { include_usage: true } }))
  client.send(request('b'))
  await client.until(ends('a'))
  await client.until(ends('b'))
  t.equal(client.textOf('a'), 'Hé🌍')
  t.equal(client.textOf('b'), 'Hé🌍')
  t.match(client.frames.filter(({ id }) => id === 'a').at(-2), { type: 'chunk', data: { choices: [], usage: { completion_tokens: 7 } } })
  t.match(client.frames.find(({ id }) => id === 'a'), { data: { object: 'chat.completion.chunk', choices: [{ delta: { role: 'assistant', content: 'H' } }] } })
})

t.test('plain completions have a socket at their own path', async t => {
  const server = await aServer(t, { script: says('x') })
  const client = await aSocket(t, server, '/v1/completions')
  client.send({ type: 'request', id: 'a', body: { prompt: 'Hi' } })
  await client.until(ends('a'))
  t.equal(client.textOf('a'), 'x')
})

t.test('requests share a socket without mixing, each at its own pace', async t => {
  const server = await aServer(t)
  const client = await aSocket(t, server)
  for (const id of ['a', 'b']) client.send(request(id))
  const [a, b] = [await server.generation.stream(0), await server.generation.stream(1)]
  a.scheduled()
  b.scheduled()
  b.token(0x62)
  a.token(0x61)
  b.finish('stop')
  await client.until(ends('b'))
  t.notOk(ends('a')(client.frames))
  a.token(0x61)
  a.finish('stop')
  await client.until(ends('a'))
  t.equal(client.textOf('a'), 'aa')
  t.equal(client.textOf('b'), 'b')
})

t.test('a cancelled request is aborted and done, the others go on', async t => {
  const server = await aServer(t)
  const client = await aSocket(t, server)
  for (const id of ['a', 'b']) client.send(request(id))
  const [a, b] = [await server.generation.stream(0), await server.generation.stream(1)]
  client.send({ type: 'cancel', id: 'a' })
  client.send({ type: 'cancel', id: 'nobody' })
  await a.until(({ aborted }) => aborted)
  await client.until(ends('a'))
  t.match(client.frames.at(-1), { type: 'done', id: 'a' })
  t.notOk(b.aborted)
  b.finish('stop')
  await client.until(ends('b'))
  t.match(await server.telemetry.render(), /^daybreak_aborts_total\{phase="queued",cause="cancel"\} 1$/m)
})

t.test('frames and bodies that make no sense get error frames, and the socket survives them', async t => {
  const server = await aServer(t, { script: says('x') })
  const client = await aSocket(t, server)
  const rows: ReadonlyArray<readonly [frame: unknown, id: string | null, status: number, code: string, param?: string]> = [
    ['not json', null, 400, 'invalid_json'],
    [[], null, 400, 'invalid_type'],
    [{ type: 'dance', id: 'x' }, 'x', 400, 'invalid_type'],
    [{ type: 'request', body: {} }, null, 400, 'missing_required_parameter', 'id'],
    [{ type: 'cancel', id: 'y', extra: 1 }, 'y', 400, 'unknown_parameter', 'extra'],
    [request('z', { model: 'other' }), 'z', 404, 'model_not_found', 'model'],
    [request('w', { messages: [] }), 'w', 400, 'invalid_value', 'messages'],
  ]
  for (const [frame, id, status, code, param] of rows) {
    const before = client.frames.length
    client.send(frame)
    await client.until(frames => frames.length > before)
    t.match(client.frames.at(-1), { type: 'error', id, status, error: { code, ...(param !== undefined && { param }) } }, JSON.stringify(frame))
  }
  const before = client.frames.length
  client.socket.send(Buffer.from([1, 2, 3]))
  await client.until(frames => frames.length > before)
  t.match(client.frames.at(-1), { type: 'error', id: null, error: { code: 'invalid_type' } })
  client.send(request('good'))
  await client.until(ends('good'))
  t.equal(client.textOf('good'), 'x')
})

t.test('an id in use and a request too many are refused; an id is free again when its request has ended', async t => {
  const server = await aServer(t, { config: { socketMaxInFlight: 2 } })
  const client = await aSocket(t, server)
  client.send(request('a'))
  client.send(request('a'))
  await client.until(frames => frames.length === 1)
  t.match(client.frames[0], { type: 'error', id: 'a', status: 409, error: { code: 'duplicate_id' } })
  client.send(request('b'))
  client.send(request('c'))
  await client.until(ends('c'))
  t.match(client.frames.at(-1), { id: 'c', status: 429, error: { code: 'rate_limit_exceeded' } })
  const a = await server.generation.stream(0)
  a.finish('stop')
  await client.until(frames => frames.some(({ type }) => type === 'done'))
  client.send(request('a'))
  t.ok(await server.generation.stream(2))
})

t.test('closing the socket aborts everything it asked for', async t => {
  const server = await aServer(t)
  const client = await aSocket(t, server)
  const other = await aSocket(t, server)
  for (const id of ['a', 'b']) client.send(request(id))
  await server.generation.stream(1)
  other.send(request('c'))
  const streams = [await server.generation.stream(0), await server.generation.stream(1)]
  const untouched = await server.generation.stream(2)
  client.socket.close()
  for (const stream of streams) await stream.until(({ released }) => released)
  t.notOk(untouched.aborted)
})

t.test('a frame beyond the limit closes the socket with 1009', async t => {
  const server = await aServer(t, { config: { socketFrameLimitBytes: 1024 } })
  const client = await aSocket(t, server)
  client.send('x'.repeat(2000))
  const [code] = await once(client.socket, 'close')
  t.equal(code, 1009)
})

t.test('a slow reader pauses the generations of its own socket and no others, and resumes them', async t => {
  const server = await aServer(t, { config: { slowReaderBytes: 16384 } })
  const slow = await aSocket(t, server)
  const other = await aSocket(t, server)
  slow.send(request('a'))
  const a = await server.generation.stream(0)
  slow.send(request('b'))
  const b = await server.generation.stream(1)
  other.send(request('c'))
  const c = await server.generation.stream(2)
  slow.socket.pause()
  a.scheduled()
  for (let steps = 0; !a.paused; steps++) {
    if (steps > 20_000) throw new Error('the reader was never found slow')
    a.emit(...Array.from({ length: 50 }, () => a.tokenEvent(0x61)))
    await new Promise(resolve => setImmediate(resolve))
  }
  t.ok(b.paused)
  t.notOk(c.paused)
  slow.socket.resume()
  await a.until(({ paused }) => !paused)
  t.notOk(b.paused)
  t.strictSame(c.pauses, [])
})

t.test('a client that provokes errors and reads none of them is cut off', async t => {
  const server = await aServer(t, { config: { slowReaderBytes: 16384 } })
  const client = await aSocket(t, server)
  const [serverSide] = server.app.websocketServer.clients
  client.socket.on('error', () => {})
  client.socket.pause()
  const nonsense = JSON.stringify({ type: 'cancel', id: 'x'.repeat(128), extra: 1 })
  for (let sent = 0; serverSide?.readyState === WebSocket.OPEN; sent++) {
    if (sent > 1_000_000) throw new Error('it was never cut off')
    client.socket.send(nonsense)
    if (sent % 1000 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  t.not(serverSide?.readyState, WebSocket.OPEN)
})

t.test('chunks larger than any limit reach a reader that takes its time', async t => {
  const server = await aServer(t, { script: says('x'), config: { slowReaderBytes: 16384 } })
  const client = await aSocket(t, server, '/v1/completions')
  const [serverSide] = server.app.websocketServer.clients
  client.socket.pause()
  const ids = ['a', 'b', 'c']
  const body = { prompt: 'x'.repeat(900), echo: true, logprobs: 20, n: 8, max_tokens: 1 }
  for (const id of ids) client.send({ type: 'request', id, body })
  for (const i of ids.keys()) await (await server.generation.stream(i)).until(({ pauses }) => pauses.length > 0)
  t.ok((serverSide?.bufferedAmount ?? 0) > 16 * 16384, 'more is unread than the system holds')
  t.equal(serverSide?.readyState, WebSocket.OPEN)
  client.socket.resume()
  for (const id of ids) await client.until(ends(id))
  t.strictSame(client.frames.filter(({ type }) => type === 'done').map(({ id }) => id).toSorted(), ids)
})

t.test('a peer that answers no pings is cut off', async t => {
  const server = await aServer(t, { config: { socketPingSeconds: 0.03 } })
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/v1/completions`, { autoPong: false })
  await once(socket, 'open')
  const [code] = await once(socket, 'close')
  t.equal(code, 1006)
  // Long enough for a loaded machine to answer in.
  const alive = await aSocket(t, await aServer(t, { config: { socketPingSeconds: 0.4 } }))
  for (let ping = 0; ping < 3; ping++) await once(alive.socket, 'ping')
  t.equal(alive.socket.readyState, WebSocket.OPEN)
})

t.test('a drain closes idle sockets with 1001 at once and busy ones when they are done; new requests are refused', async t => {
  const server = await aServer(t)
  const [idle, busy] = [await aSocket(t, server), await aSocket(t, server)]
  busy.send(request('a'))
  const a = await server.generation.stream(0)
  const drained = server.app.drain()
  const [idleCode] = await once(idle.socket, 'close')
  t.equal(idleCode, 1001)
  busy.send(request('b'))
  await busy.until(ends('b'))
  t.match(busy.frames.at(-1), { id: 'b', status: 503, error: { code: 'service_unavailable' } })
  const closed = once(busy.socket, 'close')
  a.scheduled()
  a.token(0x61)
  a.finish('stop')
  await busy.until(ends('a'))
  t.equal(busy.textOf('a'), 'a')
  t.equal((await closed)[0], 1001)
  await drained
})

t.test('a page of another origin may not connect unless it is allowed', async t => {
  const open = async (server: ServerUnderTest, origin: string, headers: Record<string, string> = {}): Promise<string> => {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/v1/completions`, { origin, headers })
    const outcome = await Promise.race([once(socket, 'open').then(() => 'open'), once(socket, 'unexpected-response').then(([, response]) => String(response.statusCode))])
    socket.on('error', () => {})
    socket.terminate()
    return outcome
  }
  const server = await aServer(t)
  t.equal(await open(server, 'https://evil.example'), '403')
  t.equal(await open(server, server.url), 'open')
  t.equal(await open(server, 'http://rebound.example', { host: 'rebound.example' }), '403', 'a name that was made to lead here')
  t.equal(await open(await aServer(t, { config: { corsOrigins: ['https://good.example'] } }), 'https://good.example'), 'open')
})
