import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { missingFiles } from '../hub/directory-files.ts'
import { ggufModels } from '../hub/gguf-files.ts'
import { isCommit } from '../hub/hub-reference.ts'
import type { CachedModel } from './cached-model.ts'

/** A repository's folder in Hugging Face's cache. */
export interface CachedRepo {
  readonly repo: string
  readonly folder: string
  readonly snapshots: readonly CachedSnapshot[]
  /** What unfinished downloads left, of this program or another. */
  readonly unfinishedBytes: number
  readonly lastModified: Date
}

export interface CachedSnapshot {
  readonly commit: string
  readonly refs: readonly string[]
  readonly folder: string
  readonly files: readonly CachedFile[]
}

export interface CachedFile {
  /** Relative to the snapshot, with `/`. */
  readonly path: string
  /** Where its bytes are: a blob, or the file itself where the system has no links. */
  readonly blob: string
  readonly bytes: number
  readonly lastModified: Date
  readonly lastUsed: Date
}

/** All models in a cache folder, whoever downloaded them, by name. A folder that is not there has none. Files that go away meanwhile are left out. */
export async function scanHubCache (cacheFolder: string): Promise<CachedRepo[]> {
  const names = await readdir(cacheFolder).catch(() => [])
  const repos = await Promise.all(names.sort().map(async name => {
    const [, owner, rest] = /^models--([^-].*?)--(.+)$/.exec(name) ?? []
    return owner === undefined || rest === undefined ? [] : [await scanRepo(`${owner}/${rest}`, join(cacheFolder, name))]
  }))
  return repos.flat()
}

/** A repository's revisions as `daybreak models` lists them: at least one, even if nothing is whole. */
export async function cachedModelsOf ({ repo, folder, snapshots, unfinishedBytes, lastModified }: CachedRepo): Promise<CachedModel[]> {
  if (snapshots.length === 0) {
    return [{ name: repo, origin: 'hub', commit: undefined, refs: [], bytes: unfinishedBytes, lastModified, lastUsed: lastModified, missing: ['everything'], path: folder }]
  }
  const models = await Promise.all(snapshots.map(async ({ commit, refs, folder, files }): Promise<CachedModel> => ({
    name: repo,
    origin: 'hub',
    commit,
    refs,
    bytes: sum([...new Map(files.map(({ blob, bytes }) => [blob, bytes])).values()]),
    lastModified: latest(files.map(file => file.lastModified), lastModified),
    lastUsed: latest(files.map(file => file.lastUsed), lastModified),
    missing: await missingOf(files),
    path: folder
  })))
  models.sort((a, b) => b.lastModified.getTime() - a.lastModified.getTime())
  return models.map((model, i) => i === 0 ? { ...model, bytes: model.bytes + unfinishedBytes } : model)
}

async function scanRepo (repo: string, folder: string): Promise<CachedRepo> {
  const commits = (await readdir(join(folder, 'snapshots')).catch(() => [])).filter(isCommit).sort()
  const refs = await readRefs(join(folder, 'refs'))
  const snapshots = await Promise.all(commits.map(async (commit): Promise<CachedSnapshot> => {
    const snapshot = join(folder, 'snapshots', commit)
    return { commit, refs: refs.filter(ref => ref.commit === commit).map(({ name }) => name), folder: snapshot, files: await filesBelow(snapshot) }
  }))
  const blobs = await filesBelow(join(folder, 'blobs'))
  return {
    repo,
    folder,
    snapshots: snapshots.filter(({ files }) => files.length > 0),
    unfinishedBytes: sum(blobs.filter(({ path }) => path.endsWith('.incomplete')).map(({ bytes }) => bytes)),
    lastModified: latest(blobs.map(blob => blob.lastModified), await stat(folder).then(({ mtime }) => mtime, () => new Date(0)))
  }
}

/** Branches and tags, also those with a `/` in their name, and what they stand for. */
export async function readRefs (folder: string): Promise<Array<{ readonly name: string, readonly path: string, readonly commit: string }>> {
  const files = await filesBelow(folder)
  return await Promise.all(files.map(async ({ path, blob }) => ({ name: path, path: join(folder, path), commit: (await readFile(blob, 'utf8').catch(() => '')).trim() })))
}

async function filesBelow (root: string): Promise<CachedFile[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = await Promise.all(entries.filter(entry => !entry.isDirectory()).map(async entry => {
    const path = join(entry.parentPath, entry.name)
    try {
      const blob = await realpath(path)
      const { size, mtime, atime } = await stat(blob)
      return [{ path: relative(root, path).replaceAll('\\', '/'), blob, bytes: size, lastModified: mtime, lastUsed: atime }]
    } catch {
      return []
    }
  }))
  return files.flat()
}

async function missingOf (files: readonly CachedFile[]): Promise<string[]> {
  const byPath = new Map(files.map(file => [file.path, file]))
  const gguf = ggufModels([...byPath.keys()])
  const cut = gguf.filter(({ parts, numParts }) => parts.length !== numParts)
  if (gguf.length > cut.length) return []
  if (cut.length > 0) return cut.map(({ stem, parts, numParts }) => `${numParts - parts.length} of ${numParts} parts of ${stem}`)
  return await missingFiles(new Set(byPath.keys()), async name => await readFile(byPath.get(name)?.blob ?? '', 'utf8'))
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

function latest (dates: readonly Date[], otherwise: Date): Date {
  return dates.length === 0 ? otherwise : new Date(Math.max(...dates.map(date => date.getTime())))
}
