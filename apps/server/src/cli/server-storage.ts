import type { Logger } from 'pino'
import { dataFolder, openStorage } from '../storage/index.ts'
import type { Storage } from '../storage/index.ts'
import { SettingError } from './settings.ts'

/**
 * The folder of files and batches, for this server alone. A server whose folder is another's, or cannot be written, goes without and
 * says so: most requests need none.
 * @param dataDir asked for by name; then it must be had
 * @throws SettingError (rejects)
 */
export async function openServerStorage (dataDir: string | undefined, env: Readonly<Record<string, string | undefined>>, logger: Logger): Promise<Storage | undefined> {
  const folder = dataFolder(dataDir, env)
  try {
    const storage = await openStorage(folder)
    if (!('usedBy' in storage)) return storage
    const user = `another daybreak${storage.usedBy === undefined ? '' : ` (pid ${storage.usedBy})`}`
    if (dataDir !== undefined) throw new SettingError({ setting: '--data-dir', value: folder, allowed: `a folder that no other server has; this one is ${user}'s` })
    logger.warn({ event: 'storage-in-use', folder, pid: storage.usedBy }, `files and batches are off: ${user} has ${folder}; --data-dir gives this one a folder of its own`)
  } catch (cause) {
    const isRefused = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && /^(EACCES|EPERM|EROFS|ENOTDIR|EEXIST)$/.test(cause.code)
    if (!isRefused) throw cause
    if (dataDir !== undefined) throw new SettingError({ setting: '--data-dir', value: folder, allowed: `a folder that can be written (${cause.message})` })
    logger.warn({ event: 'storage-refused', folder, err: cause }, `files and batches are off: ${folder} cannot be written; --data-dir names another folder`)
  }
  return undefined
}
