import { formatByteSize } from '../cli/byte-size.ts'
import { environmentFetch, unwatched } from '../models/download/index.ts'
import type { DownloadProgress, ModelAlias, ModelSource } from '../models/index.ts'
import { resolveModel } from '../models/index.ts'
import { directoryFiles } from '../models/hub/directory-files.ts'
import { chooseGguf, ggufModels } from '../models/hub/gguf-files.ts'
import { HubClient } from '../models/hub/hub-client.ts'
import { formatHubReference, HubError, readHubSettings, resolveHubModel } from '../models/hub/index.ts'
import type { HubReference, ResolveHubOptions } from '../models/hub/index.ts'
import { fetchHubHeaders } from './hub-headers.ts'
import type { HubHeaders } from './hub-headers.ts'

/** A model whose small files and headers can be read. */
export interface FoundModel extends AsyncDisposable {
  readonly id: string
  readonly source: ModelSource
  /** Of all its files on the Hub, when no more than their headers were fetched; undefined for a model that is here. */
  readonly downloadBytes: number | undefined
}

export interface FindModelOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly progress: DownloadProgress
  /** Default: all there are. */
  readonly aliases?: readonly ModelAlias[]
}

/**
 * Finds what `--model` names. An alias is fetched as serving it would fetch it; of a model on the Hub that is not in the cache only
 * the headers are, into a temporary folder that disposing removes.
 * @throws as `resolveModel` does, and HubError for a GGUF model that is not in the cache (rejects)
 */
export async function findModel (name: string, { env, progress, aliases }: FindModelOptions): Promise<FoundModel> {
  let headers: HubHeaders | undefined
  const { id, source } = await resolveModel(name, {
    env,
    progress,
    ...(aliases !== undefined && { aliases }),
    resolveHub: async (reference, options) => {
      const cached = await cachedModel(reference, options)
      if (cached !== undefined) return cached
      headers = await headersOf(reference, options)
      return headers === undefined ? await resolveHubModel(reference, options) : { type: 'directory', path: headers.folder }
    }
  })
  return { id, source, downloadBytes: headers?.bytes, [Symbol.asyncDispose]: async () => { await headers?.[Symbol.asyncDispose]() } }
}

/** @throws HubError where the Hub may not be asked (rejects) */
async function cachedModel (reference: HubReference, options: ResolveHubOptions): Promise<ModelSource | undefined> {
  try {
    return await resolveHubModel(reference, { ...options, env: { ...options.env, HF_HUB_OFFLINE: '1' } })
  } catch (error) {
    const { isOffline } = await readHubSettings(options.env)
    if (isOffline || !(error instanceof HubError) || error.code !== 'HUB_NOT_IN_CACHE') throw error
    return undefined
  }
}

/** Undefined for what cannot be downloaded either: asking for it says why. */
async function headersOf (reference: HubReference, { env, progress = unwatched, fetch = environmentFetch(env), signal }: ResolveHubOptions): Promise<HubHeaders | undefined> {
  const { repo, revision, file } = reference
  const client = new HubClient(repo, { settings: await readHubSettings(env), fetch, signal })
  const commit = await client.commitOf(revision)
  const files = await client.files(commit)
  const wanted = directoryFiles(new Set(files.map(({ path }) => path)))
  if (file === undefined && !('problem' in wanted)) {
    progress.begin(`${repo} (headers only)`, undefined)
    try {
      return await fetchHubHeaders({ client, commit, files, fetch }, wanted)
    } catch (failure) {
      throw client.explain(failure, revision)
    } finally {
      progress.end()
    }
  }
  const gguf = chooseGguf(ggufModels(files.map(({ path }) => path)), file)
  if (gguf === undefined) return undefined
  // Nothing tells how long a GGUF header is, and some of what it says lies among the weights.
  const bytes = files.filter(({ path }) => gguf.parts.includes(path)).reduce((sum, { bytes }) => sum + bytes, 0)
  const model = formatHubReference(reference)
  throw new HubError('HUB_NOT_IN_CACHE', `${model} is not in the cache. To be inspected, a GGUF model (${gguf.stem}, ${formatByteSize(bytes)}) has to be here whole: daybreak models download ${model}`, { repo, revision, file, bytes })
}
