import { open } from 'node:fs/promises'
import { InvalidCheckpointError } from '../errors.ts'

/**
 * The JSON value in a file of at most `maxBytes`.
 * @throws InvalidCheckpointError when the file cannot be read, is larger, or is not JSON
 */
export async function readJsonFile (path: string, maxBytes: number): Promise<unknown> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new InvalidCheckpointError(path, 'cannot be opened', { cause })
  })
  try {
    const { size } = await file.stat()
    if (size > maxBytes) throw new InvalidCheckpointError(path, `has ${size} bytes; at most ${maxBytes} are read`)
    return JSON.parse(await file.readFile('utf8'))
  } catch (cause) {
    if (cause instanceof InvalidCheckpointError) throw cause
    throw new InvalidCheckpointError(path, 'is not JSON', { cause })
  } finally {
    await file.close()
  }
}
