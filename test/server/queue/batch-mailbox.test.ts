import type { Test } from 'tap'
import { silentLogger } from '../../../apps/server/src/cli/logger.ts'
import { BatchMailbox } from '../../../apps/server/src/queue/batch-mailbox.ts'
import { parseQueueUrl } from '../../../apps/server/src/queue/index.ts'
import { RedisLink } from '../../../apps/server/src/queue/redis-link.ts'
import { redisTest } from './redis-server.ts'
import type { RedisServer } from './redis-server.ts'

async function aMailbox (t: Test, redis: RedisServer): Promise<BatchMailbox> {
  const url = parseQueueUrl(redis.url)
  if (url === undefined) throw new Error('no address')
  const link = await RedisLink.open(url, silentLogger)
  t.teardown(async () => { await link[Symbol.asyncDispose]() })
  return new BatchMailbox(link, 'batch_1')
}

redisTest('an answer is sent once, in order, and stays until it is removed', async (t, redis) => {
  const mailbox = await aMailbox(t, redis)
  await mailbox.open(null)
  t.strictSame([await mailbox.send(5, 'a'), await mailbox.send(5, 'again'), await mailbox.send(1, 'b\n"c"')], ['sent', 'repeated', 'sent'])
  t.strictSame([...await mailbox.sent([1, 2, 5])], [1, 5])
  const deliveries = await mailbox.wait()
  t.strictSame(deliveries.map(({ text }) => text), ['a', 'b\n"c"'])
  t.strictSame(await mailbox.peek(), deliveries)
  await mailbox.remove(deliveries.slice(0, 1))
  t.strictSame(await mailbox.peek(), deliveries.slice(1))
  t.equal(await mailbox.send(5, 'again'), 'repeated', 'taken is as good as sent')
  await mailbox.unmark([5])
  t.strictSame([...await mailbox.sent([1, 5])], [1])
  t.equal(await mailbox.send(5, 'again'), 'sent')
})

redisTest('a batch that has ended takes no answers, and leaves nothing', async (t, redis) => {
  const mailbox = await aMailbox(t, redis)
  t.equal(await mailbox.send(1, 'early'), 'ended', 'nor does one that nobody has opened')
  await mailbox.open(null)
  await mailbox.send(1, 'a')
  t.ok(await mailbox.isOpen())
  await mailbox.close()
  t.notOk(await mailbox.isOpen())
  t.equal(await mailbox.send(2, 'late'), 'ended')
  t.match(await redis.ask('DBSIZE'), ':0')
})

redisTest('a batch whose time is over is closed, whether or not its owner is there', async (t, redis) => {
  const mailbox = await aMailbox(t, redis)
  const now = Math.floor(Date.now() / 1000)
  await mailbox.open(now + 1000)
  t.match(await redis.ask('PEXPIRETIME daybreak:{batch_1}:open'), `:${(now + 1000) * 1000}`)
  await mailbox.open(now - 1)
  t.notOk(await mailbox.isOpen())
})
