import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'

/**
 * Writes the files one after another into `destination` and flushes it.
 * @param throwIfStopped called before every piece written; what it throws ends the work
 * @returns the sha256 of the whole, in hex
 */
export async function joinFiles (paths: readonly string[], destination: string, throwIfStopped: () => void): Promise<string> {
  const hash = createHash('sha256')
  const target = await open(destination, 'w')
  try {
    for (const path of paths) {
      const source: AsyncIterable<Buffer> = createReadStream(path, { highWaterMark: 1 << 20 })
      for await (const chunk of source) {
        throwIfStopped()
        hash.update(chunk)
        await target.writeFile(chunk)
      }
    }
    await target.sync()
  } finally {
    await target.close()
  }
  return hash.digest('hex')
}
