import { statfs } from 'node:fs/promises'
import { DiskFullError } from './errors.ts'

/** @throws DiskFullError (rejects) when fewer than `neededBytes` can be written below `folder`, which exists */
export async function requireSpace (folder: string, neededBytes: number, freeBytes: (folder: string) => Promise<number>): Promise<void> {
  const free = await freeBytes(folder)
  if (neededBytes > free) throw new DiskFullError({ folder, neededBytes, freeBytes: free })
}

/** What the file system grants a user without privileges. */
export async function freeBytesOf (folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
