import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NoAdapterError, openEngine } from '@daybreak/engine'
import type { Engine, EngineDebugOptions, EngineOptions } from '@daybreak/engine'
import type { MissingGpu } from '../kernels/gpu-harness.ts'

const folders = {
  'tiny-llama': join(import.meta.dirname, '../../fixtures/tiny-llama'),
  'tiny-llama-tied': join(import.meta.dirname, '../../fixtures/tiny-llama-tied'),
  'daybreak-mini': join(import.meta.dirname, '../../../models/daybreak-mini')
}
export type ModelName = keyof typeof folders

export function modelFolder (name: ModelName): string {
  return folders[name]
}

/** Opens a model until the test file ends; without an adapter, CI fails and elsewhere the answer says why tests are skipped. */
export async function openForTest (name: ModelName, options: Partial<EngineOptions> = {}, debug: EngineDebugOptions = {}): Promise<Engine | MissingGpu> {
  // A shader's first compilation takes seconds on a software adapter; later runs find it in the driver's cache on disk.
  t.setTimeout(900_000)
  try {
    const engine = await openEngine({
      model: { type: 'directory', path: folders[name] },
      dtype: 'f32',
      adapter: undefined,
      debug: false,
      blockSize: 16,
      kvCacheBytes: 8 << 20,
      maxModelLen: 512,
      maxSequences: 12,
      maxBatchedTokens: 128,
      onProgress: () => {},
      ...options
    }, debug)
    t.teardown(() => engine.runner[Symbol.asyncDispose]())
    return engine
  } catch (error) {
    const { CI } = process.env
    if (CI === 'true' || !(error instanceof NoAdapterError)) throw error
    return { missing: error.message }
  }
}

/** A test that needs the engine; skipped with the reason where there is no adapter. */
export function engineTest (name: string, engine: Engine | MissingGpu, body: (t: Test, engine: Engine) => Promise<void>): void {
  if ('missing' in engine) t.test(name, { skip: engine.missing }, async () => {})
  else t.test(name, t => body(t, engine))
}
