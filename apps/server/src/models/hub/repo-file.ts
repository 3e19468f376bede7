/** One file of a repository's tree at a commit. */
export interface RepoFile {
  /** Relative, with `/`; safe to join to a folder. */
  readonly path: string
  readonly bytes: number
  /** Its blob's name in the cache, and what it hashes to: sha256 of what Git LFS keeps, else git's own sha1. */
  readonly etag: string
  readonly isLfs: boolean
}

/** Whether a path from somewhere else stays below the folder it is joined to, on every system. */
export function isSafePath (path: string): boolean {
  return !path.includes('\0') && path.split('/').every(part => part !== '' && part !== '.' && part !== '..' && !/[\\:]/.test(part))
}
