import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RecordedRates } from './report.ts'

/** The rates in a model folder's gauge.json; none when there is no such file, or nothing like rates in it. */
export async function readRecordedRates (directory: string): Promise<RecordedRates> {
  const rates = new Map<string, number>()
  let gauge: unknown
  try {
    gauge = JSON.parse(await readFile(join(directory, 'gauge.json'), 'utf8'))
  } catch {
    return rates
  }
  for (const [task, entry] of Object.entries(gauge ?? {})) {
    if (typeof entry === 'object' && entry !== null && 'exact' in entry && typeof entry.exact === 'number') rates.set(task, entry.exact)
  }
  return rates
}
