import type { Logger } from 'pino'
import type { QueueConfig } from '../config.ts'
import type { BatchQueue } from '../queue/index.ts'
import { SettingError } from './settings.ts'

/**
 * The queue that was asked for; undefined when none was.
 * @throws SettingError, without what may be a password, QueueUnreachableError, QueueUnsupportedError (rejects)
 */
export async function openServerQueue ({ queue, queueLeaseSeconds }: QueueConfig, logger: Logger): Promise<BatchQueue | undefined> {
  if (queue === undefined) return undefined
  // Its libraries are for those who use it: they cost every start a third of a second.
  const { BatchQueue, parseQueueUrl, withoutCredentials } = await import('../queue/index.ts')
  const url = parseQueueUrl(queue)
  if (url === undefined) throw new SettingError({ setting: '--queue', value: withoutCredentials(queue), allowed: 'redis://host:port, or rediss:// for TLS' })
  return await BatchQueue.open({ url, leaseMs: queueLeaseSeconds * 1000, logger })
}
