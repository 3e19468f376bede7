/**
 * One repository's folder in Hugging Face's cache: `blobs/<etag>`, `snapshots/<commit>/<path>` (relative links to blobs; plain files
 * where the system has no links) and `refs/<revision>` (the commit).
 * @see https://huggingface.co/docs/hub/local-cache
 */
import { copyFile, mkdir, readdir, readFile, realpath, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { isCommit } from './hub-reference.ts'

export type MakeLink = (target: string, path: string) => Promise<void>

export class RepoCache {
  /** Absolute. */
  readonly folder: string
  readonly #link: MakeLink

  /** @param link how a symbolic link is made; what it rejects with `EPERM` or the like means that there are none here */
  constructor (cacheFolder: string, repo: string, link: MakeLink = symlink) {
    this.folder = join(cacheFolder, `models--${repo.replaceAll('/', '--')}`)
    this.#link = link
  }

  blobPath (etag: string): string { return join(this.folder, 'blobs', etag) }

  /** Not Python's `<etag>.incomplete`: it holds a lock there that Node cannot see, and both would write at once. */
  partialPath (etag: string): string { return `${this.blobPath(etag)}.daybreak.incomplete` }

  snapshotFolder (commit: string): string { return join(this.folder, 'snapshots', commit) }

  /** Bytes of a blob that are there: all, where another revision has it, or what an earlier try left. */
  async presentBytes (etag: string, bytes: number): Promise<number> {
    if (await stat(this.blobPath(etag)).then(({ size }) => size === bytes, () => false)) return bytes
    return await stat(this.partialPath(etag)).then(({ size }) => size, () => 0)
  }

  /** The commit a revision last stood for here; a commit stands for itself. */
  async commitOf (revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision
    const text = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => '')
    return isCommit(text.trim()) ? text.trim() : undefined
  }

  async remember (revision: string, commit: string): Promise<void> {
    if (revision === commit || await this.commitOf(revision) === commit) return
    const path = join(this.folder, 'refs', revision)
    await mkdir(dirname(path), { recursive: true })
    const fresh = temporaryName(path)
    await writeFile(fresh, commit)
    await rename(fresh, path)
  }

  /** Paths of the files of a snapshot, relative to it, with `/`. A link whose blob is gone is no file. */
  async filesOf (commit: string): Promise<Set<string>> {
    const root = this.snapshotFolder(commit)
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => [])
    const found = await Promise.all(entries.map(async entry => {
      const path = join(entry.parentPath, entry.name)
      return await stat(path).then(status => status.isFile(), () => false) ? [relative(root, path).replaceAll('\\', '/')] : []
    }))
    return new Set(found.flat())
  }

  /** Whether a snapshot has a file, of that length where it is known. */
  async has (commit: string, path: string, bytes: number): Promise<boolean> {
    return await stat(join(this.snapshotFolder(commit), path)).then(status => status.isFile() && status.size === bytes, () => false)
  }

  /** Makes a blob that is there a file of a snapshot, under all its paths. */
  async link (commit: string, [first, ...others]: readonly string[], etag: string): Promise<void> {
    if (first === undefined) return
    const blob = this.blobPath(etag)
    for (const path of others) {
      if (!await this.#point(join(this.snapshotFolder(commit), path), blob)) await copyFile(blob, join(this.snapshotFolder(commit), path))
    }
    // No links here: as in Python, the file itself moves. Where another snapshot has it as well, it is there twice.
    if (!await this.#point(join(this.snapshotFolder(commit), first), blob)) await rename(blob, join(this.snapshotFolder(commit), first))
  }

  /** Makes a link to a blob, in place of a wrong one. False where the system has no links; the folder is there in any case. */
  async #point (pointer: string, blob: string): Promise<boolean> {
    if (await realpath(pointer).catch(() => '') === await realpath(blob).catch(() => undefined)) return true
    await mkdir(dirname(pointer), { recursive: true })
    const fresh = temporaryName(pointer)
    try {
      await this.#link(relative(dirname(pointer), blob), fresh)
    } catch (error) {
      if (error instanceof Error && 'code' in error && NO_LINKS.has(String(error.code))) return false
      throw error
    }
    await rename(fresh, pointer)
    return true
  }
}

/** Nobody else's: containers that have a cache in common have process ids in common, too. */
function temporaryName (path: string): string {
  return `${path}.${crypto.randomUUID()}.tmp`
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL'])
