import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { LEAST_BYTES_PER_SECOND, receiveTimeout } from '../../apps/server/src/plugins/receive-timeout.ts'
import { aServer } from './server-under-test.ts'

/** Long beside what a busy machine takes to read what has come. */
const TIMEOUT_MS = 250

/** A server that answers with the length of a body, after `workMs`, and says 408 to what is refused. */
async function aReceiver (t: Test, workMs = 0): Promise<number> {
  const watch = receiveTimeout(TIMEOUT_MS, socket => { socket.end('HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n') })
  const server = createServer((request, response) => {
    watch(request)
    let numBytes = 0
    request.on('data', (data: Buffer) => { numBytes += data.length })
    request.on('end', () => { setTimeout(() => { response.setHeader('connection', 'close').end(`${numBytes} bytes`) }, workMs) })
    request.on('error', () => {})
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => { server.close() })
  return (server.address() as AddressInfo).port
}

function aSender (t: Test, port: number, head: string): { readonly socket: Socket, readonly answer: Promise<string> } {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  let text = ''
  socket.on('data', (data: Buffer) => { text += data.toString() })
  socket.on('error', () => {})
  const answer = once(socket, 'close').then(() => text)
  socket.write(head)
  return { socket, answer }
}

const post = (numBytes: number): string => `POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: ${numBytes}\r\n\r\n`

t.test('a body that does not come is refused when its time is over', async t => {
  const { answer } = aSender(t, await aReceiver(t), `${post(10)}half`)
  t.match(await answer, /^HTTP\/1.1 408/)
})

t.test('a body of a byte now and then is no better, nor is one in chunks', async t => {
  const port = await aReceiver(t)
  for (const [head, byte] of [[post(1_000_000), 'x'], ['POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n', '1\r\nx\r\n']] as const) {
    const { socket, answer } = aSender(t, port, head)
    const sending = setInterval(() => { socket.write(byte) }, 5)
    t.teardown(() => { clearInterval(sending) })
    t.match(await answer, /^HTTP\/1.1 408/)
    clearInterval(sending)
  }
})

t.test('a large body has a second more for every so many bytes that have come', async t => {
  const numBytes = 600 * LEAST_BYTES_PER_SECOND
  const { socket, answer } = aSender(t, await aReceiver(t), post(numBytes + 4))
  socket.write(Buffer.alloc(numBytes))
  await delay(4 * TIMEOUT_MS)
  socket.write('rest')
  t.match(await answer, new RegExp(`^HTTP/1.1 200[^]*${numBytes + 4} bytes$`))
})

t.test('once a request has arrived, its answer may take as long as it takes', async t => {
  const port = await aReceiver(t, 4 * TIMEOUT_MS)
  t.match(await aSender(t, port, `${post(4)}body`).answer, /4 bytes$/)
  t.match(await aSender(t, port, 'GET /x HTTP/1.1\r\nhost: x\r\n\r\n').answer, /0 bytes$/)
})

t.test('Node takes whatever limits the settings allow', async t => {
  const { url } = await aServer(t, { config: { maxFileBytes: 64 * 2 ** 30, receiveTimeoutSeconds: 1.00001 } })
  t.equal((await fetch(`${url}/health`)).status, 200)
})

t.test('an upload that stands still is refused in the API\'s form, whatever its address, and nothing of it is kept', async t => {
  const dataFolder = t.testdir({})
  const { port } = await aServer(t, { dataFolder, config: { receiveTimeoutSeconds: 1 } })
  const form = '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
  const answers = ['/v1/files', '/v1/none', '/%E0%A4%A'].map(async path =>
    await aSender(t, port, `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 9999\r\n\r\n${form}`).answer)
  const [upload, ...others] = await Promise.all(answers)
  t.match(upload, /^HTTP\/1.1 408[^]*"code":"receive_timeout"/)
  // These are answered before, and yet their connections end.
  for (const other of others) t.match(other, /^HTTP\/1.1 4\d\d/)
  while ((await readdir(join(dataFolder, 'files'))).length > 0) await new Promise(resolve => setImmediate(resolve))
})
