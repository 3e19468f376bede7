import { readFileSync } from 'node:fs'
import t from 'tap'
import { createLogger } from '../../../apps/server/src/cli/logger.ts'
import { parseQueueUrl } from '../../../apps/server/src/queue/index.ts'
import { RedisLink } from '../../../apps/server/src/queue/redis-link.ts'
import { redisTest } from './redis-server.ts'

const deployed = (name: string): string => readFileSync(new URL(`../../../deploy/${name}`, import.meta.url), 'utf8')
const composeFile = deployed('compose.yaml')
const command: unknown = JSON.parse(/^ +command: (\["redis-server".*\])$/m.exec(composeFile)?.[1] ?? 'null')
const [, ...options] = Array.isArray(command) ? command.map(String) : []

t.test('the compose file says how its Redis is started', async t => {
  t.ok(options.length > 0)
})

t.test('Prometheus watches the server and the workers by the names that they have in the compose file', async t => {
  const services = [...composeFile.slice(composeFile.indexOf('\nservices:')).matchAll(/^ {2}([a-z]+):\n {4}<<: \*server$/mg)].map(([, name]) => name)
  const watched = [...deployed('prometheus.yml').matchAll(/^ +- (?:targets|names): \["([a-z]+)(?::8000|\.)"\]$/mg)].map(([, name]) => name)
  t.strictSame(services, ['daybreak', 'worker'])
  t.strictSame(watched, services)
})

// Behind the opposite of what matters: the last of a kind counts.
redisTest('the Redis of the compose file is one that servers have nothing to say against', async (t, redis) => {
  const lines: string[] = []
  const url = parseQueueUrl(redis.url)
  if (url === undefined) throw new Error(redis.url)
  await using _link = await RedisLink.open(url, createLogger('info', 'json', { write: (line: string) => { lines.push(line) } }))
  t.strictSame(lines, [])
}, ['--appendonly', 'no', '--maxmemory-policy', 'allkeys-lru', ...options])
