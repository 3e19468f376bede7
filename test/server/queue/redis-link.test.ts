import t from 'tap'
import { createLogger } from '../../../apps/server/src/cli/logger.ts'
import { parseQueueUrl } from '../../../apps/server/src/queue/index.ts'
import type { QueueUrl } from '../../../apps/server/src/queue/queue-url.ts'
import { RedisLink } from '../../../apps/server/src/queue/redis-link.ts'
import { redisTest } from './redis-server.ts'

function logged () {
  const lines: string[] = []
  return { lines, logger: createLogger('info', 'json', { write: (line: string) => { lines.push(line) } }) }
}

function url (text: string): QueueUrl {
  const parsed = parseQueueUrl(text)
  if (parsed === undefined) throw new Error(`no address: ${text}`)
  return parsed
}

t.test('where there is no Redis, the error says where, and what to do', async t => {
  const { logger } = logged()
  await t.rejects(RedisLink.open(url('redis://someone:secret@127.0.0.1:1'), logger), {
    code: 'QUEUE_UNREACHABLE',
    message: /^the queue at redis:\/\/127\.0\.0\.1:1 cannot be used \(connect ECONNREFUSED.*start a Redis there/,
    details: { queue: 'redis://127.0.0.1:1' }
  })
})

redisTest('a Redis that keeps the queue is opened without a word', async (t, redis) => {
  const { logger, lines } = logged()
  await using link = await RedisLink.open(url(redis.url), logger)
  t.ok(link.isConnected)
  t.strictSame(lines, [])
})

redisTest('a Redis that may forget the queue is warned of', async (t, redis) => {
  const { logger, lines } = logged()
  await using _link = await RedisLink.open(url(redis.url), logger)
  t.equal(lines.length, 2)
  t.match(lines[0], /maxmemory-policy allkeys-lru/)
  t.match(lines[1], /appendonly no/)
}, ['--appendonly', 'no', '--maxmemory-policy', 'allkeys-lru'])

redisTest('a wrong password is an error that does not name it', async (t, redis) => {
  const { logger, lines } = logged()
  const refusal = await RedisLink.open(url(`redis://:wrong-secret@127.0.0.1:${redis.port}`), logger).then(() => undefined, (error: unknown) => error)
  t.match(refusal, { code: 'QUEUE_UNREACHABLE', details: { reason: /WRONGPASS/ } })
  t.notMatch(JSON.stringify([refusal, String(refusal), lines]), 'wrong-secret')
}, ['--requirepass', 'another'])

redisTest('a command that is given while Redis is away is done when it is back', async (t, redis) => {
  const { logger, lines } = logged()
  await using link = await RedisLink.open(url(redis.url), logger)
  await redis.kill()
  const { signal } = new AbortController()
  const set = link.persist(signal, async () => await link.commands.set('key', 'value'))
  const waiting = new AbortController()
  const never = link.persist(waiting.signal, async () => await link.commands.get('key'))
  waiting.abort(new Error('given up'))
  await t.rejects(never, { message: 'given up' }, 'only whoever waits ends the wait')
  await redis.restart()
  t.equal(await set, 'OK')
  const events = lines.map(line => (JSON.parse(line) as { event: string }).event)
  t.strictSame(events, ['queue-lost', 'queue-back'], 'an outage is two lines')
})
