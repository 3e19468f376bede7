import { readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { toFile } from 'openai'
import t from 'tap'
import type { Test } from 'tap'
import { aServer, refusalOf } from './server-under-test.ts'
import type { ServerUnderTestOptions } from './server-under-test.ts'

async function aFileServer (t: Test, options: ServerUnderTestOptions = {}) {
  const dataFolder = options.dataFolder ?? t.testdir({})
  return { ...await aServer(t, { ...options, dataFolder }), dataFolder }
}

const upload = async (text: string, name = 'in.jsonl') => ({ file: await toFile(Buffer.from(text), name), purpose: 'batch' as const })

t.test('a file is uploaded, listed, read and deleted through the official client', async t => {
  const { client } = await aFileServer(t)
  const text = '{"a": "ä€😀"}\n'
  const file = await client.files.create(await upload(text, 'naïve name.jsonl'))
  t.match(file, { object: 'file', bytes: Buffer.byteLength(text), filename: 'naïve name.jsonl', purpose: 'batch', status: 'processed' })
  t.match(file.id, /^file-[0-9a-f]{32}$/)
  t.strictSame(await client.files.retrieve(file.id), file)
  t.equal(await (await client.files.content(file.id)).text(), text)
  t.strictSame((await client.files.list()).data, [file])
  t.match(await client.files.delete(file.id), { id: file.id, deleted: true })
  t.match(await refusalOf(client.files.retrieve(file.id)), { status: 404, code: 'not_found', param: 'id' })
  t.match(await refusalOf(client.files.content(file.id)), { status: 404 })
})

t.test('a file of several megabytes comes back as it was', async t => {
  const { client } = await aFileServer(t)
  const text = Array.from({ length: 60_000 }, (_, i) => `${i} ${'x'.repeat(i % 100)}`).join('\n')
  const { id } = await client.files.create(await upload(text))
  t.equal(await (await client.files.content(id)).text(), text)
})

t.test('lists come in pages, newest first unless asked otherwise', async t => {
  const { client } = await aFileServer(t)
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await client.files.create(await upload(`${i}`))).id)
  const page = await client.files.list({ limit: 2, order: 'asc' })
  t.strictSame([page.data.map(({ id }) => id), page.has_more], [ids.slice(0, 2), true])
  const all: string[] = []
  for await (const { id } of client.files.list({ limit: 2 })) all.push(id)
  t.strictSame(all, ids.toReversed())
  t.strictSame((await client.files.list({ purpose: 'vision' })).data, [])
})

t.test('a page of files says where it begins and ends, and whether more follow', async t => {
  const { client, url } = await aFileServer(t)
  const page = async (query: string): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url}/v1/files${query}`)
    const { data, ...rest } = await response.json() as { data?: ReadonlyArray<{ id: string }> }
    return { status: response.status, ids: data?.map(({ id }) => id), ...rest }
  }
  const nothing = { status: 200, object: 'list', ids: [], first_id: null, last_id: null, has_more: false }
  t.strictSame(await page(''), nothing)

  const ids: string[] = []
  for (let i = 0; i < 3; i++) ids.unshift((await client.files.create(await upload(`${i}`))).id)
  const pageOf = (ids: readonly string[], hasMore = false) => ({ status: 200, object: 'list', ids, first_id: ids[0], last_id: ids.at(-1), has_more: hasMore })
  t.strictSame(await page('?limit=2'), pageOf(ids.slice(0, 2), true))
  t.strictSame(await page('?limit=3'), pageOf(ids), 'the last that there are')
  t.strictSame(await page(`?limit=1&after=${ids[0]}`), pageOf(ids.slice(1, 2), true))
  t.strictSame(await page(`?limit=1&after=${ids[1]}`), pageOf(ids.slice(2)))
  t.strictSame(await page(`?after=${ids[2]}`), nothing)
  t.strictSame(await page(`?order=asc&after=${ids[1]}`), pageOf(ids.slice(0, 1)))
  t.strictSame(await page('?limit=1&after=file-unknown'), pageOf(ids.slice(0, 1), true), 'behind one that is gone the list starts over')
  t.strictSame(await page('?limit=10000'), pageOf(ids))
  for (const query of ['limit=0', 'limit=10001', 'limit=-1', 'limit=1.5', 'limit=many', 'limit=']) t.match(await page(`?${query}`), { status: 400, error: { type: 'invalid_request_error', param: 'limit' } }, query)
  t.match(await page('?order=sideways'), { status: 400, error: { param: 'order' } })
})

t.test('what a form must not hold is refused by name, and nothing of it is kept', async t => {
  const { client, url, dataFolder } = await aFileServer(t, { config: { maxFileBytes: 2048 } })
  t.match(await refusalOf(client.files.create({ ...await upload('x'.repeat(2049)) })), { status: 413, code: 'request_too_large' })
  t.match(await refusalOf(client.files.create({ ...await upload('x'), purpose: 'vision' })), { status: 400, param: 'purpose' })
  t.match(await refusalOf(client.files.create({ ...await upload('x'), expires_after: { anchor: 'created_at', seconds: 5 } })), { status: 400, code: 'invalid_value' })
  const form = (fields: Record<string, string | Blob>): FormData => {
    const data = new FormData()
    for (const [name, value] of Object.entries(fields)) data.append(name, value)
    return data
  }
  const post = async (body: string | FormData, headers: Record<string, string> = {}) => {
    const response = await fetch(`${url}/v1/files`, { method: 'POST', body, headers })
    return [response.status, ((await response.json()) as { error: { code: string } }).error.code]
  }
  t.strictSame(await post(form({ purpose: 'batch' })), [400, 'missing_required_parameter'])
  t.strictSame(await post(form({ file: new Blob(['x']) })), [400, 'missing_required_parameter'])
  t.strictSame(await post(form({ purpose: 'batch', other: 'x', file: new Blob(['x']) })), [400, 'unknown_parameter'])
  t.strictSame(await post(form({ purpose: 'batch', attachment: new Blob(['x']) })), [400, 'unknown_parameter'])
  t.strictSame(await post('{}', { 'content-type': 'application/json' }), [415, 'unsupported_media_type'])
  t.strictSame(await post('--x\r\nnonsense', { 'content-type': 'multipart/form-data; boundary=x' }), [400, 'malformed_request'])
  t.strictSame(await readdir(join(dataFolder, 'files')), [])
  t.match(await client.files.create({ ...await upload('x'.repeat(2048)) }), { bytes: 2048 })
})

t.test('files are there again after a restart, and what was left unfinished is not', async t => {
  const dataFolder = t.testdir({ files: { '.unfinished': { content: 'half' }, 'file-strange': { content: 'no metadata' } } })
  const { client } = await aFileServer(t, { dataFolder })
  const file = await client.files.create(await upload('text'))
  const again = await aFileServer(t, { dataFolder })
  t.strictSame((await again.client.files.list()).data, [file])
  t.notOk((await readdir(join(dataFolder, 'files'))).includes('.unfinished'))
})

t.test('a name is no path: neither that of a file nor an id of an address', async t => {
  const { client, url } = await aFileServer(t)
  t.match(await client.files.create(await upload('x', '../../etc/passwd')), { filename: 'passwd' })
  for (const id of ['..%2f..%2fbatch.json', '.', '%2e%2e', 'file-strange']) t.equal((await fetch(`${url}/v1/files/${id}/content`)).status, 404)
})

t.test('a name may be long, odd or missing, and the content can be read all the same', async t => {
  const { client, url } = await aFileServer(t)
  const cut = await client.files.create(await upload('x', `${'n'.repeat(1023)}😀`))
  t.equal(cut.filename, 'n'.repeat(1023))
  t.equal(await (await client.files.content(cut.id)).text(), 'x')
  const odd = await client.files.create(await upload('x', 'it\'s (a) "name"*;\t.jsonl'))
  t.match((await client.files.content(odd.id)).headers.get('content-disposition'), /^attachment; filename\*=UTF-8''[\w.%~!-]+$/)
  const body = '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; name="file"\r\ncontent-type: application/octet-stream\r\n\r\ntext\r\n--b--\r\n'
  const nameless = await fetch(`${url}/v1/files`, { method: 'POST', body, headers: { 'content-type': 'multipart/form-data; boundary=b' } })
  t.match(await nameless.json(), { filename: 'file', bytes: 4 })
})

t.test('of an upload whose client leaves in the middle nothing is kept', async t => {
  const { port, dataFolder, logLines } = await aFileServer(t)
  const folder = join(dataFolder, 'files')
  const socket = connect(port, '127.0.0.1')
  socket.write('POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 9999999\r\n\r\n' +
    `--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n${'x'.repeat(300_000)}`)
  while ((await readdir(folder)).length === 0) await new Promise(resolve => setImmediate(resolve))
  socket.destroy()
  while ((await readdir(folder)).length > 0) await new Promise(resolve => setImmediate(resolve))
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(logLines.some(line => line.includes('"level":50')), 'that is no fault of the server')
})
