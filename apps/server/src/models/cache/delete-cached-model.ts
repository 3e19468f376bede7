import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isCommit } from '../hub/hub-reference.ts'
import type { CachedModel } from './cached-model.ts'
import type { CacheFolders } from './list-cached-models.ts'
import { listCachedModels } from './list-cached-models.ts'
import { readRefs, scanHubCache } from './scan-hub-cache.ts'
import type { CachedRepo, CachedSnapshot } from './scan-hub-cache.ts'

/** What a deletion will take away, to be shown before it happens. */
export interface Deletion {
  readonly models: readonly CachedModel[]
  /** What becomes free: without the blobs that other revisions use. */
  readonly bytes: number
  /** Files and folders that go, all absolute; links before what they point to. */
  readonly paths: readonly string[]
}

/** Nothing of that name, or no such revision of it, is in the cache. */
export class NotCachedError extends Error {
  override readonly name = 'NotCachedError'
  readonly code = 'MODEL_NOT_CACHED'
  readonly details: { readonly model: string, readonly cached: readonly string[] }

  constructor (details: NotCachedError['details']) {
    super(`${details.model} is not among the downloaded models${details.cached.length === 0 ? '; there are none' : `: ${details.cached.join(', ')}`}`)
    this.details = details
  }
}

/**
 * Plans to delete a model: all revisions, or the one that a branch, tag, commit or a commit's first seven or more letters name.
 * @throws NotCachedError (rejects)
 */
export async function planDeletion (name: string, revision: string | undefined, folders: CacheFolders): Promise<Deletion> {
  const all = await listCachedModels(folders)
  const models = all.filter(model => model.name === name && (revision === undefined || isRevision(model, revision)))
  const [first] = models
  if (first === undefined) {
    throw new NotCachedError({ model: revision === undefined ? name : `${name}@${revision}`, cached: [...new Set(all.map(labelOf))] })
  }
  if (first.origin === 'alias') return { models, bytes: first.bytes, paths: [first.path] }
  const repo = (await scanHubCache(folders.hub)).find(repo => repo.repo === name)
  if (repo === undefined) throw new NotCachedError({ model: name, cached: [...new Set(all.map(labelOf))] })
  const going = repo.snapshots.filter(({ commit }) => models.some(model => model.commit === commit))
  if (going.length === repo.snapshots.length) return { models, bytes: bytesOf(repo.snapshots) + repo.unfinishedBytes, paths: [repo.folder] }
  return { models, ...await withoutSharedBlobs(repo, going) }
}

/** Carries a plan out. A blob goes only after every link to it, so that what is left is whole at every moment. */
export async function carryOut ({ paths }: Deletion): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true })
}

async function withoutSharedBlobs (repo: CachedRepo, going: readonly CachedSnapshot[]): Promise<Pick<Deletion, 'bytes' | 'paths'>> {
  const staying = new Set(repo.snapshots.filter(snapshot => !going.includes(snapshot)).flatMap(({ files }) => files.map(({ blob }) => blob)))
  const files = going.flatMap(snapshot => snapshot.files)
  const blobs = new Map(files.filter(({ blob }) => !staying.has(blob)).map(({ blob, bytes }) => [blob, bytes]))
  const refs = (await readRefs(join(repo.folder, 'refs'))).filter(({ commit }) => going.some(snapshot => snapshot.commit === commit))
  return {
    bytes: [...blobs.values()].reduce((sum, bytes) => sum + bytes, 0),
    paths: [...refs.map(({ path }) => path), ...going.map(({ folder }) => folder), ...blobs.keys()]
  }
}

function isRevision ({ commit, refs }: CachedModel, revision: string): boolean {
  return refs.includes(revision) || (commit !== undefined && (commit === revision || (!isCommit(revision) && /^[0-9a-f]{7,}$/.test(revision) && commit.startsWith(revision))))
}

function labelOf ({ name }: CachedModel): string { return name }

function bytesOf (snapshots: readonly CachedSnapshot[]): number {
  const blobs = new Map(snapshots.flatMap(({ files }) => files.map(({ blob, bytes }) => [blob, bytes])))
  return [...blobs.values()].reduce((sum, bytes) => sum + bytes, 0)
}
