import { once } from 'node:events'
import { createServer } from 'node:http'
import t from 'tap'
import { HubClient } from '../../../apps/server/src/models/hub/hub-client.ts'
import { COMMIT } from './hub-fixture.ts'

const endpoint = 'https://hub.example/below'
const entry = (path: string): object => ({ type: 'file', path, size: 1, oid: COMMIT })

/** A client of a Hub that answers like this, and the requests it gets: their URL and whether they carry the token. */
function aClient (answer: () => Promise<Response>) {
  const requests: Array<readonly [url: string, authorization: string | null]> = []
  const fetch: typeof globalThis.fetch = async (input, init) => {
    requests.push([String(input), new Headers(init?.headers).get('authorization')])
    return await answer()
  }
  return { requests, client: new HubClient('some/model', { settings: { endpoint, token: 'hf_secret' }, fetch, sleep: async () => {} }) }
}

t.test('the token goes to the Hub only, wherever the next page of a list is said to be', async t => {
  const next = ['https://elsewhere.example/page', 'https://hub.example.evil.example/page', 'http://hub.example/page', undefined]
  let page = 0
  const { client, requests } = aClient(async () => {
    const link = next[page]
    page += 1
    return Response.json([entry(`${page}.json`)], { headers: link === undefined ? {} : { link: `<${link}>; rel="next"` } })
  })
  t.same((await client.files(COMMIT)).map(({ path }) => path), ['1.json', '2.json', '3.json', '4.json'])
  t.same(requests.map(([, authorization]) => authorization), ['Bearer hf_secret', null, null, null])
})

t.test('a Hub that says nothing, or breaks off, counts as out of reach', async t => {
  let numRequests = 0
  const server = createServer(() => { numRequests += 1 }).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const address = server.address()
  const settings = { endpoint: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`, token: undefined }
  await t.rejects(new HubClient('some/model', { settings, fetch, timeoutMs: 200 }).commitOf('main'), { code: 'HUB_UNREACHABLE', message: /timeout/ })
  t.equal(numRequests, 1, 'it is not asked again')
  const broken = aClient(async () => new Response(new ReadableStream({ start: controller => { controller.error(new Error('reset by peer')) } })))
  await t.rejects(broken.client.files(COMMIT), { code: 'HUB_UNREACHABLE', message: /reset by peer/ })
})

t.test('a page in the place of an answer is no answer', async t => {
  const { client } = aClient(async () => new Response('<html>Please log in to the network</html>'))
  await t.rejects(client.commitOf('main'), { code: 'HUB_ANSWER_MALFORMED', message: /HF_ENDPOINT/ })
  await t.rejects(client.files(COMMIT), { code: 'HUB_ANSWER_MALFORMED' })
})

t.test('what is forbidden without a reason, and when to come back, is said', async t => {
  const forbidden = aClient(async () => new Response('', { status: 403 }))
  await t.rejects(forbidden.client.commitOf('main'), { code: 'HUB_FORBIDDEN', message: /token may not read/ })
  const busy = aClient(async () => new Response('', { status: 429, headers: { 'retry-after': '300' } }))
  await t.rejects(busy.client.commitOf('main'), { code: 'HUB_FAILED', message: /Try again in 300 seconds/ })
  t.equal(busy.requests.length, 1, 'that is longer than anybody waits for')
})
