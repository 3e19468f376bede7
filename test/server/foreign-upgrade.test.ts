import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { aServer } from './server-under-test.ts'

/** What Java's HttpClient sends with a request over plain HTTP. */
const h2c = 'connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n'

async function aConnection (t: Test) {
  const server = await aServer(t)
  const socket = connect(server.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return { server, socket }
}

/** Reads on until one whole answer with a stated length is there. */
async function answer (socket: Socket): Promise<{ readonly status: number, readonly body: unknown }> {
  let text = ''
  for (;;) {
    const [head = '', body = ''] = text.split('\r\n\r\n')
    const length = /^content-length: (\d+)$/im.exec(head)?.[1]
    if (length !== undefined && body.length >= Number(length)) return { status: Number(head.split(' ')[1]), body: JSON.parse(body) }
    const data: unknown = socket.read()
    if (data === null) await once(socket, 'readable')
    else text += String(data)
  }
}

t.test('a GET that offers HTTP/2 is answered as if it had not', async t => {
  const { socket } = await aConnection(t)
  for (let i = 0; i < 3; i++) {
    socket.write(`GET /v1/models HTTP/1.1\r\nhost: x\r\n${h2c}\r\n`)
    t.match(await answer(socket), { status: 200, body: { object: 'list' } }, `request ${i} of one connection`)
  }
})

t.test('a POST that offers HTTP/2 is read to the end of its body, however that is cut, and its connection goes on', async t => {
  const { server, socket } = await aConnection(t)
  const body = JSON.stringify({ prompt: 'hello' })
  for (const cut of [0, 1, body.length - 1, body.length]) {
    socket.write(`POST /tokenize HTTP/1.1\r\nhost: x\r\n${h2c}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body.slice(0, cut)}`)
    // Answered on another connection: by then the server has read what was sent on this one.
    await server.post('/tokenize', { prompt: 'x' })
    socket.write(body.slice(cut))
    t.match(await answer(socket), { status: 200, body: { count: 6 } }, `cut after ${cut} bytes`)
  }
  socket.write('GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n')
  t.match(await answer(socket), { status: 200 })
})

t.test('a server with such a connection closes without waiting for it', async t => {
  const { server, socket } = await aConnection(t)
  socket.write(`GET /v1/models HTTP/1.1\r\nhost: x\r\n${h2c}\r\n`)
  await answer(socket)
  const closed = once(socket, 'close')
  await server.app.close()
  await closed
})
