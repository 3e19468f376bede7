import { stat } from 'node:fs/promises'
import { z } from 'zod'
import { inputLines } from './input-lines.ts'

const answer = z.object({ id: z.string().startsWith('batch_req_'), custom_id: z.string(), response: z.unknown(), error: z.unknown() })

/**
 * The number of the first line of a file that is no answer to any of these requests, before somebody's other work is taken for a log of
 * answers and cut where it is none. Undefined where there is none, or no file; the last line may have been cut off in its middle.
 */
export async function foreignLine (path: string, customIds: ReadonlySet<string>): Promise<number | undefined> {
  const size = await stat(path).then(status => status.size, () => 0)
  if (size === 0) return undefined
  for await (const { number, offset, length, text = '' } of inputLines(path, Number.MAX_SAFE_INTEGER)) {
    const isCutOff = offset + length === size && text.startsWith('{"id":"batch_req_'.slice(0, text.length))
    if (!isCutOff && !isAnswer(text, customIds)) return number
  }
  return undefined
}

function isAnswer (text: string, customIds: ReadonlySet<string>): boolean {
  try {
    return customIds.has(answer.parse(JSON.parse(text)).custom_id)
  } catch {
    return false
  }
}
