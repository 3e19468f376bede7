import { appendFile, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface ResultFile {
  /** Undefined: the working directory. */
  readonly directory: string | undefined
  /** Undefined: made of the load, the model and the date, as vLLM does. */
  readonly name: string | undefined
  /** Adds a line to the file instead of replacing it. */
  readonly append: boolean
}

/** Writes a report as one line of JSON; returns the file's path. */
export async function saveResult (report: Readonly<Record<string, unknown>>, file: ResultFile): Promise<string> {
  const directory = file.directory ?? '.'
  await mkdir(directory, { recursive: true })
  const path = join(directory, file.name ?? defaultName(report))
  const line = JSON.stringify(report)
  if (!file.append) await writeFile(path, line)
  else await appendFile(path, await isEmpty(path) ? line : `\n${line}`)
  return path
}

function defaultName (report: Readonly<Record<string, unknown>>): string {
  const concurrency = report['max_concurrency'] === null ? '' : `-concurrency${String(report['max_concurrency'])}`
  const model = String(report['model_id']).split(/[\\/]/).at(-1) ?? ''
  return `${String(report['label'] ?? report['backend'])}-${String(report['request_rate'])}qps${concurrency}-${model}-${String(report['date'])}.json`
}

async function isEmpty (path: string): Promise<boolean> {
  return stat(path).then(({ size }) => size === 0, () => true)
}
