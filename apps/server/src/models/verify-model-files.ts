import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { ModelVerificationError } from './errors.ts'

const HASHES = 'hashes.json'
// Plain file names only: a list of hashes has no business outside its folder.
const hashList = z.record(z.string().regex(/^[\w.-]+$/), z.string().regex(/^[0-9a-f]{64}$/))

export interface VerifyOptions {
  /** Whether there must be a hashes.json that lists the weights and every JSON file: a model of our own always has one. */
  readonly complete?: boolean
}

/**
 * Compares a model folder's files with the sha256 sums in its hashes.json, reading each as a stream.
 * @returns the number of files checked; `undefined` when the folder has no hashes.json and need not have one.
 * @throws ModelVerificationError (rejects) that names the first file that must be listed and is not, else the first, in the list's
 * order, that is missing or differs.
 */
export async function verifyModelFiles (directory: string, { complete = false }: VerifyOptions = {}): Promise<number | undefined> {
  const expected = await readHashes(join(directory, HASHES))
  if (complete) await requireComplete(directory, expected)
  if (expected === undefined) return undefined
  const actual = await Promise.all(Object.keys(expected).map(async name => await sha256(join(directory, name))))
  Object.entries(expected).forEach(([name, sum], i) => {
    const file = join(directory, name)
    const found = actual[i]
    if (found === undefined) throw new ModelVerificationError({ file, problem: 'missing' })
    if (found !== sum) throw new ModelVerificationError({ file, problem: `sha256 is ${found}, ${HASHES} says ${sum}` })
  })
  return actual.length
}

/** Nothing that is loaded may go unchecked: a list that was cut down, or deleted, must not pass for a verified model. */
async function requireComplete (directory: string, listed: Readonly<Record<string, string>> | undefined): Promise<void> {
  if (listed === undefined) throw new ModelVerificationError({ file: join(directory, HASHES), problem: 'missing' })
  const loaded = (await readdir(directory)).filter(name => /\.(json|safetensors)$/.test(name) && name !== HASHES)
  const unlisted = loaded.find(name => !Object.hasOwn(listed, name))
  if (unlisted !== undefined) throw new ModelVerificationError({ file: join(directory, unlisted), problem: `${HASHES} has no sha256 of it` })
  if (!Object.keys(listed).some(name => name.endsWith('.safetensors'))) {
    throw new ModelVerificationError({ file: join(directory, HASHES), problem: 'lists no weights' })
  }
}

async function readHashes (file: string): Promise<Record<string, string> | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw new ModelVerificationError({ file, problem: 'cannot be read' }, { cause })
  }
  try {
    return hashList.parse(JSON.parse(text))
  } catch (cause) {
    throw new ModelVerificationError({ file, problem: 'is not a list of file names and sha256 sums' }, { cause })
  }
}

async function sha256 (file: string): Promise<string | undefined> {
  const hash = createHash('sha256')
  try {
    await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash)
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw new ModelVerificationError({ file, problem: 'cannot be read' }, { cause })
  }
  return hash.digest('hex')
}

function isMissing (error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
