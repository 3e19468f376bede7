import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { BatchStore } from '../batches/index.ts'
import { FileStore } from '../files/index.ts'
import { tryProcessLock } from '../process-lock.ts'

/** What outlives a process: uploaded files, and batches with their results. */
export interface Storage extends AsyncDisposable {
  readonly files: FileStore
  readonly batches: BatchStore
  /** Aborts when another process has taken the folder over, since this one stood still for long: nothing may be written any more. */
  readonly lost: AbortSignal
}

/** Somebody else works in the folder; undefined pid: it does not say who. */
export interface StorageInUse {
  readonly usedBy: number | undefined
}

/** Opens the files and batches of a folder, or makes it; until disposed of, they are this process's alone. */
export async function openStorage (folder: string): Promise<Storage | StorageInUse> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const lock = await tryProcessLock(join(folder, 'lock'), async ms => { await sleep(ms) })
  if (lock.lost === undefined) return { usedBy: lock.holder?.pid }
  try {
    return {
      files: await FileStore.open(join(folder, 'files'), () => Math.floor(Date.now() / 1000)),
      batches: await BatchStore.open(join(folder, 'batches')),
      lost: lock.lost,
      [Symbol.asyncDispose]: async () => { await lock[Symbol.asyncDispose]() }
    }
  } catch (cause) {
    await lock[Symbol.asyncDispose]()
    throw cause
  }
}
