import { open } from 'node:fs/promises'

/** What systems say that know no such thing as writing a folder through, Windows among them, or allow nobody to ask for it. */
const NOT_HERE: ReadonlySet<unknown> = new Set(['EISDIR', 'EPERM', 'EACCES', 'EINVAL', 'ENOTSUP', 'EBADF'])

/**
 * Resolves when the disk knows the names in a folder: until then the end of the machine may undo a rename, whatever has become of what
 * was renamed. Where the system cannot do that, it is done when the system does it.
 * @throws what goes wrong with the disk (rejects)
 */
export async function syncFolder (path: string): Promise<void> {
  try {
    await using folder = await open(path, 'r')
    await folder.sync()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && NOT_HERE.has(error.code))) throw error
  }
}
