import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { verifyModelFiles } from './verify-model-files.ts'

/**
 * As `verifyModelFiles`, but files that have been compared are not read again as long as the file system says that nothing was done to
 * them: hashing hundreds of megabytes would cost every start a second. A disk that forgets bits without a word goes unnoticed.
 * @param record a file outside the folder that remembers what the files were like; one that cannot be written is done without
 * @param verify what compares them, as `verifyModelFiles` does
 * @returns whether the folder has a hashes.json, and so was verified
 * @throws ModelVerificationError (rejects)
 */
export async function verifyOnce (directory: string, record: string, verify: typeof verifyModelFiles = verifyModelFiles): Promise<boolean> {
  const before = await stateOf(directory)
  if (before === undefined) return false
  if (await readFile(record, 'utf8').catch(() => undefined) === before) return true
  if (await verify(directory) === undefined) return false
  // The state from before the hashing: what changes meanwhile is compared again.
  await remember(record, before)
  return true
}

/**
 * Changes with every byte written to a file, since the system itself sets a file's time of change, and with files that come, go or are
 * replaced. Undefined where there is no folder.
 */
async function stateOf (directory: string): Promise<string | undefined> {
  const names = await readdir(directory).catch(() => undefined)
  if (names === undefined) return undefined
  const states = await Promise.all(names.sort().map(async name => {
    const { size, mtimeNs, ctimeNs, ino } = await stat(join(directory, name), { bigint: true })
    return [name, ...[size, mtimeNs, ctimeNs, ino].map(String)]
  }))
  return JSON.stringify(states, undefined, 1)
}

async function remember (record: string, state: string): Promise<void> {
  const fresh = `${record}.${crypto.randomUUID()}.tmp`
  await writeFile(fresh, state).then(async () => { await rename(fresh, record) }).catch(() => {})
}
