import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MODEL_ALIASES } from './alias-table.ts'
import { modelCacheFolder } from './cache/model-cache-folder.ts'
import { environmentFetch, unwatched } from './download/index.ts'
import type { DownloadProgress } from './download/index.ts'
import { ModelNotFoundError } from './errors.ts'
import { formatHubReference, parseHubReference, resolveHubModel } from './hub/index.ts'
import type { HubReference, ResolveHubOptions } from './hub/index.ts'
import type { ModelAlias } from './model-alias.ts'
import type { ModelSource } from './model-source.ts'
import { verifyModelFiles } from './verify-model-files.ts'

/** Built-in names and their folder below the models folder. */
export const BUILT_IN_MODELS: Readonly<Record<string, string>> = { 'daybreak-mini': 'daybreak-mini' }

/** What answers when nobody says otherwise. */
export const DEFAULT_MODEL = 'daybreak-mini'

export interface ResolvedModel {
  /** What `/v1/models` calls it: the built-in name, the alias, the Hub's name without a revision, or the directory's or file's own. */
  readonly id: string
  readonly source: ModelSource
  /**
   * Whether every file is known to match a sha256 sum that came with it: compared now, or, of an alias, when something was last done to
   * it. What comes from the Hub is compared when it arrives, and not again.
   */
  readonly verified: boolean
}

export interface ResolveModelOptions {
  /** Holds the built-in models' folders; a bundle that carries them elsewhere says where. Default: this repository's `models`. */
  readonly modelsFolder?: string
  /** Default: all there are. */
  readonly aliases?: readonly ModelAlias[]
  /** Where `HF_HOME`, `HF_TOKEN`, `HTTPS_PROXY` and the like are read. Default: nothing is set. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly progress?: DownloadProgress
  /** Default: by way of the proxy that `env` names, if it names one. */
  readonly fetch?: typeof globalThis.fetch
  readonly signal?: AbortSignal
  /** How a model of the Hub becomes files. Default: it is downloaded. */
  readonly resolveHub?: (reference: HubReference, options: ResolveHubOptions) => Promise<ModelSource>
}

/**
 * Finds a model, or downloads it: a built-in name, else a path that exists (`./name` is always a path), else `owner/name` on the
 * Hugging Face Hub, else an alias. A built-in model is always verified.
 * @throws ModelNotFoundError, ModelVerificationError, HubError, a download's errors and what an alias throws (rejects)
 */
export async function resolveModel (nameOrPath: string, options: ResolveModelOptions = {}): Promise<ResolvedModel> {
  const { aliases = MODEL_ALIASES, env = {}, progress = unwatched, fetch = environmentFetch(env), signal, resolveHub = resolveHubModel } = options
  const notFound = (problem: string): ModelNotFoundError => new ModelNotFoundError({
    model: nameOrPath, problem, builtIn: Object.keys(BUILT_IN_MODELS), aliases: aliases.map(({ name }) => name)
  })
  const folder = Object.hasOwn(BUILT_IN_MODELS, nameOrPath) ? BUILT_IN_MODELS[nameOrPath] : undefined
  const path = folder === undefined ? resolve(nameOrPath) : join(options.modelsFolder ?? repositoryModels(), folder)
  const kind = await kindOf(path)
  if (folder === undefined && kind === undefined) {
    const reference = parseHubReference(nameOrPath)
    if (reference !== undefined) {
      const { type, path } = await resolveHub(reference, { env, progress, fetch, signal })
      return { id: formatHubReference({ ...reference, revision: 'main' }), source: { type, path }, verified: false }
    }
    const alias = aliases.find(({ name }) => name === nameOrPath)
    if (alias !== undefined) {
      const { type, path, verified } = await alias.prepare({ folder: join(modelCacheFolder(env), alias.name), env, progress, fetch, signal })
      return { id: alias.name, source: { type, path }, verified }
    }
  }
  if (kind === 'file' && /\.gguf$/i.test(path)) return { id: basename(path), source: { type: 'gguf', path }, verified: false }
  const problem = await whatIsMissing(path, kind)
  if (problem !== undefined) throw notFound(problem)
  const numVerified = await verifyModelFiles(path, { complete: folder !== undefined })
  return { id: folder === undefined ? basename(path) : nameOrPath, source: { type: 'directory', path }, verified: numVerified !== undefined }
}

function repositoryModels (): string {
  return fileURLToPath(new URL('../../../../models/', import.meta.url))
}

async function whatIsMissing (path: string, kind: Kind): Promise<string | undefined> {
  if (kind === undefined) return `there is no directory ${path}`
  if (kind !== 'directory') return `${path} is neither a directory nor a .gguf file`
  for (const name of ['config.json', 'tokenizer.json']) {
    if (await kindOf(join(path, name)) !== 'file') return `${path} has no ${name}`
  }
  return undefined
}

type Kind = 'file' | 'directory' | 'other' | undefined

async function kindOf (path: string): Promise<Kind> {
  try {
    const status = await stat(path)
    if (status.isDirectory()) return 'directory'
    return status.isFile() ? 'file' : 'other'
  } catch {
    return undefined
  }
}
