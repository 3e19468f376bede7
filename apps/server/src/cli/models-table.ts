import Table from 'cli-table3'
import type { CachedModel, CacheFolders } from '../models/cache/index.ts'
import { formatByteSize } from './byte-size.ts'

/** What has been downloaded, for people. */
export function cachedModelsTable (models: readonly CachedModel[], folders: CacheFolders): string {
  const places = `in ${folders.hub} and ${folders.aliases}`
  if (models.length === 0) return `no models have been downloaded (${places})\n`
  const table = new Table({ head: ['model', 'revision', 'size', 'modified', 'last used', 'files'], style: { head: [], border: [] } })
  for (const { name, commit, refs, bytes, lastModified, lastUsed, missing } of models) {
    table.push([name, revisionOf(commit, refs), { content: formatByteSize(bytes), hAlign: 'right' }, day(lastModified), day(lastUsed), filesOf(missing)])
  }
  return `${table.toString()}\n${places}\n`
}

function revisionOf (commit: string | undefined, refs: readonly string[]): string {
  return [...refs, ...(commit === undefined ? [] : [commit.slice(0, 12)])].join(', ')
}

function filesOf ([first, ...others]: readonly string[]): string {
  if (first === undefined) return 'complete'
  return `partial: no ${first}${others.length === 0 ? '' : ` and ${others.length} more`}`
}

const day = (date: Date): string => date.toISOString().slice(0, 10)
