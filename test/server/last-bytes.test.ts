import { once } from 'node:events'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { connect } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { KeepAlive } from '../../apps/server/src/transport/keep-alive.ts'
import { cutUnlessTaken } from '../../apps/server/src/transport/last-bytes.ts'
import { ReaderPressure } from '../../apps/server/src/transport/reader-pressure.ts'
import { ServerSentEvents } from '../../apps/server/src/transport/server-sent-events.ts'

/** More than the kernel takes on both sides of a loopback connection. */
const LARGE = 'x'.repeat(64 * 2 ** 20)
const NOTHING = (): void => {}

/** A client that asks `numRequests` times at once and reads nothing; the responses, unanswered. */
async function aSilentReader (t: Test, numRequests = 1) {
  const responses: ServerResponse[] = []
  const { promise: asked, resolve } = withResolvers()
  const server = createServer((_request, response) => {
    if (responses.push(response) === numRequests) resolve()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', NOTHING)
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(numRequests))
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  await asked
  return { socket, responses }
}

t.test('a whole answer that nobody reads is cut in the end', async t => {
  const { socket, responses: [response] } = await aSilentReader(t)
  if (response === undefined) throw new Error('no request came')
  response.end(LARGE)
  cutUnlessTaken(response, 50)
  await once(response, 'close')
  t.ok(await bytesLeftFor(socket) < LARGE.length)
})

t.test('a stream whose end nobody reads is cut, too', async t => {
  const { socket, responses: [response] } = await aSilentReader(t)
  if (response === undefined) throw new Error('no request came')
  const pressure = new ReaderPressure({ limitBytes: Infinity, patienceMs: 60_000, pause: NOTHING, resume: NOTHING, giveUp: NOTHING })
  const events = new ServerSentEvents({ response, pressure, keepAlive: new KeepAlive(60_000, () => 0), onKeepAlive: NOTHING, now: () => 0, patienceMs: 50 })
  events.open()
  events.chunk(LARGE)
  events.end()
  await once(response, 'close')
  t.ok(await bytesLeftFor(socket) < LARGE.length)
})

t.test('an answer that is taken in time is left alone, and so is one that waits for an earlier answer of its connection', async t => {
  const { socket, responses: [first, second] } = await aSilentReader(t, 2)
  if (first === undefined || second === undefined) throw new Error('a request is missing')
  second.end('second')
  cutUnlessTaken(second, 1)
  // Far more turns of the timers than the second's patience.
  for (let i = 0; i < 20; i++) await new Promise(resolve => setTimeout(resolve, 1))
  t.notOk(second.destroyed)
  first.end('first')
  cutUnlessTaken(first, 60_000)
  socket.resume()
  await once(second, 'finish')
  t.ok(first.writableFinished)
  t.notOk(first.socket?.destroyed)
})

/** What a client whose connection was cut still finds to read. */
async function bytesLeftFor (socket: Socket): Promise<number> {
  socket.resume()
  await once(socket, 'close')
  return socket.bytesRead
}

function withResolvers (): { readonly promise: Promise<void>, readonly resolve: () => void } {
  let settle = NOTHING
  const promise = new Promise<void>(resolve => { settle = resolve })
  return { promise, resolve: () => settle() }
}
