import { statfs } from 'node:fs/promises'
import { DiskFullError } from './errors.ts'

/** @throws DiskFullError (rejects) when fewer than `neededBytes` can be written below `folder`, which exists */
export async function requireSpace (folder: string, neededBytes: number, freeBytes: (folder: string) => Promise<number>): Promise<void> {
  const free = await freeBytes(folder)
  if (neededBytes > free) throw new DiskFullError({ folder, neededBytes, freeBytes: free })
}

/** What the file system grants a user without privileges; `Infinity` where it does not say, as some over a network do not. */
export async function freeBytesOf (folder: string): Promise<number> {
  const status = await statfs(folder).catch(() => undefined)
  return status === undefined || status.blocks === 0 ? Infinity : status.bavail * status.bsize
}
