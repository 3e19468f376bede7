import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CachedModel } from './cached-model.ts'
import { cachedModelsOf, scanHubCache } from './scan-hub-cache.ts'

export interface CacheFolders {
  /** Hugging Face's. */
  readonly hub: string
  /** Ours, one folder per alias. */
  readonly aliases: string
}

/** Everything that has been downloaded, or begun: aliases first, each part by name. */
export async function listCachedModels (folders: CacheFolders): Promise<CachedModel[]> {
  const repos = await scanHubCache(folders.hub)
  return [...await aliasFolders(folders.aliases), ...(await Promise.all(repos.map(cachedModelsOf))).flat()]
}

async function aliasFolders (root: string): Promise<CachedModel[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  const folders = entries.filter(entry => entry.isDirectory()).map(({ name }) => name).sort()
  return await Promise.all(folders.map(async (name): Promise<CachedModel> => {
    const path = join(root, name)
    const files = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => [])
    const stats = await Promise.all(files.filter(file => file.isFile()).map(async file => await stat(join(file.parentPath, file.name)).catch(() => undefined)))
    const found = stats.filter(status => status !== undefined)
    const newest = (times: readonly number[]): Date => new Date(Math.max(0, ...times))
    const isUnfinished = found.length === 0 || files.some(file => file.name.endsWith('.incomplete'))
    return {
      name,
      origin: 'alias',
      commit: undefined,
      refs: [],
      bytes: found.reduce((sum, { size }) => sum + size, 0),
      lastModified: newest(found.map(({ mtimeMs }) => mtimeMs)),
      lastUsed: newest(found.map(({ atimeMs }) => atimeMs)),
      missing: isUnfinished ? ['a part of it'] : [],
      path
    }
  }))
}
