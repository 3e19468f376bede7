import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { environmentFetch, unreachable } from '../../../apps/server/src/models/download/index.ts'
import { readProxyChoice } from '../../../apps/server/src/models/download/proxy-settings.ts'
import { FakeProxy } from '../../fakes/fake-proxy.ts'
import type { FakeProxyOptions } from '../../fakes/fake-proxy.ts'
import { FaultyFileServer } from '../../fakes/faulty-file-server.ts'
import { COMMIT, hubFixture, weights } from '../hub/hub-fixture.ts'

const hello = new TextEncoder().encode('hello')

async function aProxy (t: Test, options: FakeProxyOptions = {}): Promise<FakeProxy> {
  const proxy = await FakeProxy.start(options)
  t.teardown(async () => { await proxy[Symbol.asyncDispose]() })
  return proxy
}

async function aServer (t: Test): Promise<FaultyFileServer> {
  const server = await FaultyFileServer.start()
  t.teardown(async () => { await server[Symbol.asyncDispose]() })
  server.put('/hello', hello)
  return server
}

async function failure (promise: Promise<unknown>): Promise<string> {
  return await promise.then(() => 'none', (cause: unknown) => unreachable('http://there/', cause).message)
}

t.test('without a proxy in the environment it is Node\'s own fetch', async t => {
  for (const env of [{}, { HTTPS_PROXY: '', https_proxy: ' ' }, { NO_PROXY: '*' }]) t.equal(environmentFetch(env), globalThis.fetch)
})

t.test('http goes through HTTP_PROXY in absolute form, with its user and password', async t => {
  const server = await aServer(t)
  const proxy = await aProxy(t, { credentials: 'me:se@cret' })
  const fetch = environmentFetch({ HTTP_PROXY: `http://me:se%40cret@${proxy.address}/` })
  const response = await fetch(`${server.origin}/hello`, { headers: { authorization: 'Bearer t', range: 'bytes=1-' } })
  t.equal(response.status, 206)
  t.equal(await response.text(), 'ello')
  t.strictSame(proxy.requests, [`GET ${server.origin}/hello`])
  t.match(server.requests, [{ authorization: 'Bearer t', range: 'bytes=1-' }])

  t.match(await failure(environmentFetch({ http_proxy: proxy.address })(`${server.origin}/hello`)), /cannot be reached: .*407/)
})

t.test('https goes through a tunnel of HTTPS_PROXY, and its certificate is checked at the end of it', async t => {
  const certificate = new URL('../../fixtures/localhost-tls/certificate.pem', import.meta.url)
  const server = createServer({ cert: await readFile(certificate), key: await readFile(new URL('key.pem', certificate)) }, (_request, response) => { response.end('hello') })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const address = server.address()
  const target = `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  const proxy = await aProxy(t)
  const script = fileURLToPath(new URL('../../fakes/fetch-child.ts', import.meta.url))
  const fetchIn = async (env: Readonly<Record<string, string>>): Promise<{ stdout: string, stderr: string }> =>
    await promisify(execFile)(process.execPath, ['--conditions=@daybreak/source', '--import=tsx', script, `https://${target}/`], { env: { PATH: process.env['PATH'], ...env } })

  const { stdout, stderr } = await fetchIn({ HTTPS_PROXY: `http://${proxy.address}`, NODE_EXTRA_CA_CERTS: fileURLToPath(certificate) })
  t.equal(stdout, '200 hello\n')
  t.equal(stderr, '', 'no warning')
  t.strictSame(proxy.requests, [`CONNECT ${target}`])
  await t.rejects(fetchIn({ HTTPS_PROXY: `http://${proxy.address}` }), /self-signed certificate/)
})

t.test('a tunnel that is refused, and a proxy that is not there, are told', async t => {
  for (const refuseTunnels of [403, 407]) {
    const proxy = await aProxy(t, { refuseTunnels })
    t.match(await failure(environmentFetch({ HTTPS_PROXY: proxy.address })('https://models.example/x')), new RegExp(String(refuseTunnels)))
    t.strictSame(proxy.requests, ['CONNECT models.example:443'])
  }
  const gone = await FakeProxy.start()
  await gone[Symbol.asyncDispose]()
  t.match(await failure(environmentFetch({ HTTPS_PROXY: gone.address })('https://models.example/x')), `ECONNREFUSED ${gone.address}`)
})

t.test('a variable that names no HTTP proxy fails what would go through it, and keeps its password', async t => {
  const server = await aServer(t)
  const fetch = environmentFetch({ https_proxy: 'socks5://me:secret@host:1080', HTTP_PROXY: 'http://' })
  t.equal(await failure(fetch('https://models.example/x')), 'there cannot be reached: https_proxy is "socks5://host:1080", not the address of an HTTP proxy (http://host:port)')
  t.match(await failure(fetch(`${server.origin}/hello`)), /HTTP_PROXY is "http:\/\/"/)
  t.equal((await environmentFetch({ HTTPS_PROXY: 'socks5://host' })(`${server.origin}/hello`)).status, 200, 'http has no proxy here')
})

t.test('a model of the Hub comes through the proxy: questions, files, and what they are redirected to', async t => {
  const { hub, resolve } = await hubFixture(t)
  const proxy = await aProxy(t)
  const model = await resolve('some/model', { http_proxy: proxy.address })
  t.ok(Buffer.from(weights).equals(await readFile(`${model.path}/model.safetensors`)))
  t.strictSame(proxy.requests.filter(request => request.includes(hub.endpoint)).map(request => request.replace(hub.endpoint, '').replace(/\?.*/, '')).sort(), [...hub.requests].sort())
  t.equal(proxy.requests.filter(request => request.includes(hub.cdn.origin)).length, 1)
})

t.test('hosts in NO_PROXY are spoken to directly, and redirects from there go by their own host', async t => {
  const { hub, resolve } = await hubFixture(t)
  const proxy = await aProxy(t)
  t.match(await resolve('some/model', { HTTP_PROXY: `http://${proxy.address}`, NO_PROXY: new URL(hub.endpoint).host }), { commit: COMMIT })
  t.equal(proxy.requests.length, 1)
  t.match(proxy.requests, [new RegExp(`^GET ${hub.cdn.origin}`)])
})

t.test('which proxy a URL gets', async t => {
  const env = {
    HTTPS_PROXY: 'http://secure:1',
    https_proxy: 'small.example:2',
    HTTP_PROXY: 'http://plain:3/path?query',
    NO_PROXY: 'example.com, .sub.org *.star.net 10.0.0.0/8,192.168.1.7,host.dev:8443 [fd00::1]:80 fe80::/10 bad.net/99'
  }
  const cases: ReadonlyArray<readonly [string, string | undefined]> = [
    ['https://huggingface.co/x', 'http://small.example:2/'],
    ['http://huggingface.co/x', 'http://plain:3/'],
    ['https://example.com/', undefined],
    ['https://EXAMPLE.com:444/', undefined],
    ['https://a.example.com/', undefined],
    ['https://notexample.com/', 'http://small.example:2/'],
    ['https://a.sub.org/', undefined],
    ['https://a.b.star.net/', undefined],
    ['http://10.200.3.4/', undefined],
    ['http://11.200.3.4/', 'http://plain:3/'],
    ['http://192.168.1.7:81/', undefined],
    ['http://192.168.1.70/', 'http://plain:3/'],
    ['https://host.dev:8443/', undefined],
    ['https://host.dev/', 'http://small.example:2/'],
    ['http://[fd00::1]/', undefined],
    ['http://[fd00::1]:81/', 'http://plain:3/'],
    ['http://[fe80::12]/', undefined],
    ['https://bad.net/', 'http://small.example:2/'],
    ['ftp://huggingface.co/x', undefined]
  ]
  const choose = readProxyChoice(env)
  for (const [url, proxy] of cases) t.equal(choose?.(new URL(url))?.href, proxy, url)
  t.equal(readProxyChoice({ HTTPS_PROXY: 'http://p', NO_PROXY: '*' })?.(new URL('https://a.b/')), undefined)
  t.equal(readProxyChoice({ HTTP_PROXY: 'http://p' })?.(new URL('https://a.b/')), undefined, 'the other scheme\'s proxy is no proxy')
  t.equal(readProxyChoice({ NO_PROXY: 'a.b' }), undefined)
})
