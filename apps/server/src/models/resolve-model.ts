import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ModelNotFoundError } from './errors.ts'
import { verifyModelFiles } from './verify-model-files.ts'

/** Built-in names and their folder below the models folder. */
export const BUILT_IN_MODELS: Readonly<Record<string, string>> = { 'daybreak-mini': 'daybreak-mini' }

/** What answers when nobody says otherwise. */
export const DEFAULT_MODEL = 'daybreak-mini'

export interface ResolvedModel {
  /** What `/v1/models` calls it: the built-in name, or the directory's own. */
  readonly id: string
  /** Absolute. */
  readonly directory: string
  /** Whether every file was compared with a sha256 sum that came with it. */
  readonly verified: boolean
}

export interface ResolveModelOptions {
  /** Holds the built-in models' folders; a bundle that carries them elsewhere says where. Default: this repository's `models`. */
  readonly modelsFolder?: string
}

/**
 * Finds a model by built-in name or by path; built-in names win, `./name` is always a path. A built-in model is always verified.
 * @throws ModelNotFoundError, ModelVerificationError (rejects)
 */
export async function resolveModel (nameOrPath: string, options: ResolveModelOptions = {}): Promise<ResolvedModel> {
  const builtIn = Object.keys(BUILT_IN_MODELS)
  const folder = Object.hasOwn(BUILT_IN_MODELS, nameOrPath) ? BUILT_IN_MODELS[nameOrPath] : undefined
  const directory = folder === undefined ? resolve(nameOrPath) : join(options.modelsFolder ?? repositoryModels(), folder)
  const problem = await whatIsMissing(directory)
  if (problem !== undefined) throw new ModelNotFoundError({ model: nameOrPath, problem, builtIn })
  const numVerified = await verifyModelFiles(directory, { complete: folder !== undefined })
  return { id: folder === undefined ? basename(directory) : nameOrPath, directory, verified: numVerified !== undefined }
}

function repositoryModels (): string {
  return fileURLToPath(new URL('../../../../models/', import.meta.url))
}

async function whatIsMissing (directory: string): Promise<string | undefined> {
  const kind = await kindOf(directory)
  if (kind === undefined) return `there is no directory ${directory}`
  if (kind !== 'directory') return `${directory} is not a directory`
  for (const name of ['config.json', 'tokenizer.json']) {
    if (await kindOf(join(directory, name)) !== 'file') return `${directory} has no ${name}`
  }
  return undefined
}

async function kindOf (path: string): Promise<'file' | 'directory' | 'other' | undefined> {
  try {
    const status = await stat(path)
    if (status.isDirectory()) return 'directory'
    return status.isFile() ? 'file' : 'other'
  } catch {
    return undefined
  }
}
