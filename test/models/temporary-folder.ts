import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A folder of its own, removed when the test has ended. */
export async function temporaryFolder (t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'daybreak-models-'))
  t.teardown(async () => { await rm(folder, { recursive: true, force: true }) })
  return folder
}
