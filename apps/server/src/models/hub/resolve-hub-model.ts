import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DownloadEnvironment, DownloadProgress } from '../download/index.ts'
import { DiskFullError, DownloadInterruptedError, environmentFetch, unwatched } from '../download/index.ts'
import type { ModelSource } from '../model-source.ts'
import { directoryFiles, missingFiles, SHARD_INDEX, shardsOf } from './directory-files.ts'
import { downloadFiles } from './download-files.ts'
import type { DownloadFilesOptions } from './download-files.ts'
import { HubError } from './errors.ts'
import { chooseGguf, ggufModels } from './gguf-files.ts'
import { HubClient } from './hub-client.ts'
import { formatHubReference, isCommit } from './hub-reference.ts'
import type { HubReference } from './hub-reference.ts'
import { readHubSettings } from './hub-settings.ts'
import { RepoCache } from './repo-cache.ts'
import type { MakeLink } from './repo-cache.ts'
import type { RepoFile } from './repo-file.ts'

/** `fetch`, if it is not given, goes through the proxy that `env` names. */
export interface ResolveHubOptions extends Partial<DownloadEnvironment> {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly progress?: DownloadProgress | undefined
  readonly signal?: AbortSignal | undefined
  /** How the cache makes symbolic links. */
  readonly link?: MakeLink | undefined
}

export interface HubModel extends ModelSource {
  readonly commit: string
}

/**
 * A model of the Hugging Face Hub as files in Hugging Face's own cache, where transformers and others find it and where theirs are
 * found. Asks the Hub which commit the revision is now, and downloads what the cache lacks of it; a commit that the cache has whole is
 * taken without a question. Where the Hub cannot be asked, or no longer lets us have the model, or there is no place for its newest
 * revision, a whole cached one is taken with a note.
 * @throws HubError, and the download's DiskFullError and DownloadInterruptedError (rejects)
 */
export async function resolveHubModel (reference: HubReference, options: ResolveHubOptions): Promise<HubModel> {
  const { env, progress = unwatched, fetch = environmentFetch(env), sleep, signal } = options
  const { repo, revision } = reference
  const settings = await readHubSettings(env)
  const cache = new RepoCache(settings.cacheFolder, repo, options.link)
  if (settings.isOffline || isCommit(revision)) {
    const cached = await findCached(reference, cache)
    if ('path' in cached) return cached
    if (settings.isOffline) throw notInCache(reference, cached.problem)
  }
  const client = new HubClient(repo, { settings, fetch, signal, timeoutMs: options.stallTimeoutMs, sleep: sleep === undefined ? undefined : async ms => { await sleep(ms, signal) } })
  try {
    const commit = isCommit(revision) ? revision : await client.commitOf(revision)
    const files = await client.files(commit)
    const source = await downloadModel(reference, files, { client, cache, commit, progress, signal, environment: { ...options, fetch } })
    await cache.remember(revision, commit)
    return { ...source, commit }
  } catch (failure) {
    if (signal?.aborted === true) {
      throw failure instanceof DownloadInterruptedError ? failure : new DownloadInterruptedError({ url: `${settings.endpoint}/${repo}`, receivedBytes: 0 }, { cause: failure })
    }
    const error = client.explain(failure, revision)
    const cached = canBeCached(error) ? await findCached(reference, cache) : undefined
    if (cached === undefined || !('path' in cached)) throw error
    progress.note(`${error instanceof Error ? error.message : String(error)}. Using ${formatHubReference(reference)} from the cache, commit ${cached.commit.slice(0, 12)}`)
    return cached
  }
}

async function downloadModel ({ repo, revision, file }: HubReference, files: readonly RepoFile[], options: DownloadFilesOptions): Promise<ModelSource> {
  const { cache, commit } = options
  const directory = cache.snapshotFolder(commit)
  const byPath = new Map(files.map(entry => [entry.path, entry]))
  const pick = (paths: readonly string[]): RepoFile[] => paths.flatMap(path => byPath.get(path) ?? [])
  const wanted = directoryFiles(new Set(byPath.keys()))
  const gguf = ggufModels([...byPath.keys()])
  if (file === undefined && !('problem' in wanted)) {
    const texts = pick(wanted.texts)
    let weights = wanted.weights === undefined ? [] : pick([wanted.weights])
    if (wanted.weights === undefined) {
      await downloadFiles(`${repo} (${SHARD_INDEX})`, [pick([SHARD_INDEX])], options)
      const shards = shardsOf(await readFile(join(directory, SHARD_INDEX), 'utf8'))
      const missing = shards?.filter(name => !byPath.has(name))
      if (shards === undefined || missing?.[0] !== undefined) {
        throw unusable(repo, shards === undefined ? `${SHARD_INDEX} is no shard index` : `${SHARD_INDEX} names ${missing?.[0] ?? ''}, which is not there`)
      }
      weights = pick(shards)
    }
    await downloadFiles(repo, [texts, weights], options)
    return { type: 'directory', path: directory }
  }
  if (gguf.length === 0) {
    throw unusable(repo, file === undefined && 'problem' in wanted ? wanted.problem : `there is no GGUF file in it for ${JSON.stringify(file)}; name it without the part behind the colon`)
  }
  const chosen = chooseGguf(gguf, file)
  if (chosen === undefined) {
    const choices = gguf.map(({ stem }) => stem)
    throw new HubError('HUB_GGUF_CHOICE', `${repo}: ${file === undefined ? 'which GGUF file is meant' : `none of its GGUF files is ${JSON.stringify(file)}`}? ` +
      `Name one as ${repo}:FILE or ${repo}:QUANT; there are ${choices.join(', ')}`, { repo, revision, file, choices })
  }
  if (chosen.parts.length !== chosen.numParts) throw unusable(repo, `${chosen.stem} is split into ${chosen.numParts} parts and ${chosen.parts.length} are there`)
  await downloadFiles(`${repo} (${chosen.stem})`, [pick(chosen.parts)], options)
  return { type: 'gguf', path: join(directory, chosen.parts[0] ?? '') }
}

/** The model as it is in the cache, or why it is not there. */
async function findCached (reference: HubReference, cache: RepoCache): Promise<HubModel | { readonly problem: string }> {
  const commit = await cache.commitOf(reference.revision)
  if (commit === undefined) return { problem: 'it was never downloaded' }
  const names = await cache.filesOf(commit)
  if (names.size === 0) return { problem: 'it was never downloaded' }
  const directory = cache.snapshotFolder(commit)
  const missing = await missingFiles(names, async name => await readFile(join(directory, name), 'utf8'))
  if (reference.file === undefined && missing.length === 0) return { type: 'directory', path: directory, commit }
  const models = ggufModels([...names])
  const chosen = chooseGguf(models, reference.file)
  if (chosen !== undefined && chosen.parts.length === chosen.numParts) return { type: 'gguf', path: join(directory, chosen.parts[0] ?? ''), commit }
  const lacks = models.length > 0 || reference.file !== undefined ? reference.file ?? 'a GGUF file that is meant' : missing.join(', ')
  return { problem: `of commit ${commit.slice(0, 12)} it lacks ${lacks}` }
}

/** Whether the failure says nothing against what was downloaded before. */
function canBeCached (error: unknown): boolean {
  if (!(error instanceof HubError)) return error instanceof DiskFullError || isNotWritable(error)
  const { code } = error
  return code === 'HUB_UNREACHABLE' || code === 'HUB_FAILED' || code === 'HUB_GATED' || code === 'HUB_REPO_NOT_FOUND' || code === 'HUB_TOKEN_REFUSED' || code === 'HUB_FORBIDDEN' || code === 'HUB_ANSWER_MALFORMED'
}

/** A cache on a medium that is only read from. */
function isNotWritable (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EROFS' || error.code === 'EACCES' || error.code === 'EPERM')
}

function notInCache (reference: HubReference, problem: string): HubError {
  const { repo, revision } = reference
  return new HubError('HUB_NOT_IN_CACHE', `${formatHubReference(reference)} is not whole in the cache (${problem}), and HF_HUB_OFFLINE forbids to download it. Unset it, or download the model where there is a network`, { repo, revision, problem })
}

function unusable (repo: string, problem: string): HubError {
  return new HubError('HUB_UNUSABLE_MODEL', `${repo} cannot be used: ${problem}`, { repo, problem })
}
