import type { Redis } from 'ioredis'
import { QueueUnsupportedError } from './errors.ts'

/** For SET with PXAT, and what BullMQ recommends. */
const NEEDED = [6, 2] as const

/**
 * What a Redis that is to hold a queue does not do for it, in words for its operator. INFO tells, which needs no special permission.
 * @throws QueueUnsupportedError (rejects)
 */
export async function checkRedis (redis: Redis, name: string): Promise<string[]> {
  const info = new Map((await redis.info()).split(/\r?\n/).map(line => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1)] as const
  }))
  const version = info.get('redis_version') ?? 'of an unknown version'
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [neededMajor, neededMinor] = NEEDED
  if (!(major > neededMajor || (major === neededMajor && minor >= neededMinor))) throw new QueueUnsupportedError({ queue: name, version, needed: NEEDED.join('.') })
  const warnings: string[] = []
  const policy = info.get('maxmemory_policy')
  if (policy !== undefined && policy !== 'noeviction') warnings.push(`Redis may throw away parts of the queue when its memory is full (maxmemory-policy ${policy}): set it to noeviction`)
  if (info.get('aof_enabled') === '0') warnings.push('Redis forgets the queue when it ends (appendonly no), and batches begin again where their server has them: set it to yes')
  return warnings
}
