import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { inspectModel, NoAdapterError, openEngine } from '@daybreak/engine'
import type { EngineDebugOptions, EngineOptions } from '@daybreak/engine'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { writeFamilyModel } from '../../fixtures/families/read-family.ts'

t.setTimeout(600_000)

const folder = mkdtempSync(join(tmpdir(), 'daybreak-allocation-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** Ends opening an engine once everything is allocated and before kernels are compiled. */
class Allocated extends Error {}

/** What weights pass through on their way; it is freed before anything else is allocated. */
const PASSING = /^(staging|overflow)/

const optionsOf = (path: string, changes: Partial<EngineOptions>): EngineOptions => ({
  model: { type: 'directory', path },
  dtype: 'f32',
  adapter: undefined,
  debug: false,
  blockSize: 16,
  kvCacheBytes: undefined,
  maxModelLen: 100,
  maxSequences: 3,
  maxBatchedTokens: 130,
  onProgress: ({ stage }) => { if (stage === 'kernels') throw new Allocated() },
  ...changes
})

/** Bytes of the buffers that `openEngine` asks the device for: of the KV cache, and of everything else that stays. */
async function allocatedBytes (options: EngineOptions, debug: EngineDebugOptions): Promise<{ readonly kvBytes: number, readonly fixedBytes: number } | undefined> {
  const { createStorage } = GpuDevice.prototype
  const sizes: Array<readonly [label: string, bytes: number]> = []
  GpuDevice.prototype.createStorage = async function (label, bytes) {
    const buffer = await createStorage.call(this, label, bytes)
    sizes.push([label, buffer.size])
    return buffer
  }
  try {
    await openEngine(options, debug)
  } catch (error) {
    if (process.env['CI'] !== 'true' && error instanceof NoAdapterError) return undefined
    if (!(error instanceof Allocated)) throw error
  } finally {
    GpuDevice.prototype.createStorage = createStorage
  }
  const sum = (belongs: (label: string) => boolean): number => sizes.filter(([label]) => belongs(label)).reduce((total, [, bytes]) => total + bytes, 0)
  const isKV = (label: string): boolean => label.startsWith('kv ')
  return { kvBytes: sum(isKV), fixedBytes: sum(label => !isKV(label) && !PASSING.test(label)) }
}

/** A family each for dense layers, for norms around them with two rotations, and for experts; then weights in several bindings, and a stated cache. */
const cases: ReadonlyArray<readonly [family: string, changes: Partial<EngineOptions>, debug: EngineDebugOptions]> = [
  ['llama-llama3', {}, {}],
  ['gemma3', { dtype: 'f16' }, {}],
  ['mixtral', {}, {}],
  ['mixtral', { blockSize: 32 }, { maxBindingBytes: 1 << 13 }],
  ['qwen2', { kvCacheBytes: 1 << 17 }, {}]
]

t.test('a model takes exactly the bytes that its inspection says', async t => {
  for (const [family, changes, debug] of cases) {
    const path = join(folder, family)
    writeFamilyModel(family, path)
    const { onProgress, ...options } = optionsOf(path, changes)
    const allocated = await allocatedBytes({ ...options, onProgress }, debug)
    if (allocated === undefined) {
      t.pass(`${family}: skipped, there is no adapter`)
      continue
    }
    const { most, fit } = await inspectModel({ ...options, model: { type: 'directory', path }, useAdapter: true, deviceBytes: undefined }, debug)
    const title = `${family} ${JSON.stringify({ ...changes, ...debug })}`
    t.equal(most.weightBytes + most.workingBytes, allocated.fixedBytes, `${title}: weights and working memory`)
    t.equal(most.kvBytes, allocated.kvBytes, `${title}: KV cache`)
    if (fit.type === 'fits') t.equal(fit.use.totalBytes, allocated.kvBytes + allocated.fixedBytes, `${title}: what is said to fit`)
  }
})
