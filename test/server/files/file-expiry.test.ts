import { readdir } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { toFile } from 'openai'
import t from 'tap'
import { FileStore } from '../../../apps/server/src/files/index.ts'
import { says } from '../../fakes/fake-generation-service.ts'
import { aServer } from '../server-under-test.ts'

const HOUR = 3_600

t.test('a file that has expired is not there any more, and the next sweep takes it from the disk', async t => {
  const folder = t.testdir({})
  let time = 1_000
  const files = await FileStore.open(folder, () => time)
  const publish = async (expiresAfter: number | undefined) => await files.publish(await files.receive(Readable.from([Buffer.from('text')]), 10), { filename: 'a', purpose: 'batch', expiresAfter })
  const [kept, expiring] = [await publish(undefined), await publish(1_000)]
  time = 1_999
  await files.sweep()
  t.strictSame(files.list(), [kept, expiring])
  time = 2_000
  t.strictSame(files.list(), [kept])
  t.equal(files.get(expiring.id), undefined)
  t.notOk(await files.delete(expiring.id))
  t.equal((await readdir(folder)).length, 2)
  await files.sweep()
  t.strictSame(await readdir(folder), [kept.id])
})

t.test('an upload may say when it expires, and a batch when its results do', async t => {
  const { client } = await aServer(t, { dataFolder: t.testdir({}), script: says('yes') })
  const line = JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/completions', body: { prompt: 'a', max_tokens: 4 } })
  const input = await client.files.create({ file: await toFile(Buffer.from(line), 'in.jsonl'), purpose: 'batch', expires_after: { anchor: 'created_at', seconds: HOUR } })
  t.equal((input.expires_at ?? 0) - input.created_at, HOUR)
  const { id } = await client.batches.create({ input_file_id: input.id, endpoint: '/v1/completions', completion_window: '24h', output_expires_after: { anchor: 'created_at', seconds: 2 * HOUR } })
  let batch = await client.batches.retrieve(id)
  for (; batch.status !== 'completed'; batch = await client.batches.retrieve(id)) await new Promise(resolve => setImmediate(resolve))
  const output = await client.files.retrieve(batch.output_file_id ?? '')
  t.equal((output.expires_at ?? 0) - output.created_at, 2 * HOUR)
})
