import { readdir, realpath, rm } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { lockHolder } from '../download/index.ts'
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

/** Somebody is downloading it: what is deleted now would be missing from what they end up with. */
export class ModelInUseError extends Error {
  override readonly name = 'ModelInUseError'
  readonly code = 'MODEL_IN_USE'
  readonly details: { readonly model: string, readonly pid: number | undefined }

  constructor (details: ModelInUseError['details']) {
    super(`${details.model} is being downloaded${details.pid === undefined ? '' : ` (pid ${details.pid})`}. Wait until that is done, or end it, and delete the model then`)
    this.details = details
  }
}

/**
 * Plans to delete a model: all revisions, or the one that a branch, tag, commit or a commit's first seven or more letters name.
 * A server that has read it goes on without it, until its engine has to start anew.
 * @throws NotCachedError; ModelInUseError while it is being downloaded (rejects)
 */
export async function planDeletion (name: string, revision: string | undefined, folders: CacheFolders): Promise<Deletion> {
  const all = await listCachedModels(folders)
  const models = all.filter(model => model.name === name && (revision === undefined || isRevision(model, revision)))
  const [first] = models
  if (first === undefined) {
    throw new NotCachedError({ model: revision === undefined ? name : `${name}@${revision}`, cached: [...new Set(all.map(labelOf))] })
  }
  if (first.origin === 'alias') {
    await refuseWhileDownloading(name, first.path)
    return { models, bytes: first.bytes, paths: [first.path] }
  }
  const repo = (await scanHubCache(folders.hub)).find(repo => repo.repo === name)
  if (repo === undefined) throw new NotCachedError({ model: name, cached: [...new Set(all.map(labelOf))] })
  await refuseWhileDownloading(name, join(repo.folder, 'blobs'))
  const going = repo.snapshots.filter(({ commit }) => models.some(model => model.commit === commit))
  if (going.length === repo.snapshots.length) return { models, bytes: sum(await ownBlobs(repo, going)) + repo.unfinishedBytes, paths: [repo.folder] }
  return { models, ...await withoutSharedBlobs(repo, going) }
}

/** Carries a plan out. A blob goes only after every link to it, so that what is left is whole at every moment. */
export async function carryOut ({ paths }: Deletion): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true })
}

/** @param folder where the locks of its files are */
async function refuseWhileDownloading (model: string, folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  for (const name of names.filter(name => name.endsWith('.lock'))) {
    const held = await lockHolder(join(folder, name))
    if (held !== undefined) throw new ModelInUseError({ model, pid: held.holder?.pid })
  }
}

async function withoutSharedBlobs (repo: CachedRepo, going: readonly CachedSnapshot[]): Promise<Pick<Deletion, 'bytes' | 'paths'>> {
  const staying = new Set(repo.snapshots.filter(snapshot => !going.includes(snapshot)).flatMap(({ files }) => files.map(({ blob }) => blob)))
  const blobs = new Map([...await ownBlobs(repo, going)].filter(([blob]) => !staying.has(blob)))
  const refs = (await readRefs(join(repo.folder, 'refs'))).filter(({ commit }) => going.some(snapshot => snapshot.commit === commit))
  return {
    bytes: sum(blobs),
    paths: [...refs.map(({ path }) => path), ...going.map(({ folder }) => folder), ...blobs.keys()]
  }
}

function isRevision ({ commit, refs }: CachedModel, revision: string): boolean {
  return refs.includes(revision) || (commit !== undefined && (commit === revision || (!isCommit(revision) && /^[0-9a-f]{7,}$/.test(revision) && commit.startsWith(revision))))
}

function labelOf ({ name }: CachedModel): string { return name }

/** What snapshots consist of, each once, with its length. What they link to outside the repository's folder is somebody's own file. */
async function ownBlobs ({ folder }: CachedRepo, snapshots: readonly CachedSnapshot[]): Promise<Map<string, number>> {
  const root = `${await realpath(folder)}${sep}`
  const files = snapshots.flatMap(snapshot => snapshot.files).filter(({ blob }) => blob.startsWith(root))
  return new Map(files.map(({ blob, bytes }) => [blob, bytes]))
}

function sum (blobs: ReadonlyMap<string, number>): number {
  return [...blobs.values()].reduce((total, bytes) => total + bytes, 0)
}
