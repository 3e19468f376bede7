import t from 'tap'
import type { DeviceCapabilities } from '../../../packages/engine/src/device/device-capabilities.ts'
import { memoryFit } from '../../../packages/engine/src/inspect/memory-fit.ts'
import type { FitQuestion, MemoryFit } from '../../../packages/engine/src/inspect/memory-fit.ts'
import type { MemoryUse } from '../../../packages/engine/src/inspect/memory-use.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { readFamilyConfig } from '../../fixtures/families/read-family.ts'

const config = parseModelConfig(readFamilyConfig('mixtral'))
const gpu: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: false, subgroupMatrix: false, software: false, maxBindingBytes: 2 ** 31 - 4, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 32_768
}

async function fitOn (capabilities: Partial<DeviceCapabilities>, { memory, host }: Pick<FitQuestion, 'memory' | 'host'>, maxSequences = 1000): Promise<MemoryFit> {
  const options = { dtype: 'auto', blockSize: 16, kvCacheBytes: undefined, maxModelLen: undefined, maxSequences, maxBatchedTokens: 64 } as const
  return await memoryFit({ config, options, device: { capabilities: { ...gpu, ...capabilities }, report: { name: 'a test', subgroupMaxSize: 0 } }, memory, host })
}

/** What a model that fits takes. */
function useOf (fit: MemoryFit): MemoryUse {
  if (fit.type !== 'fits') throw new Error(`it ${fit.type}`)
  return fit.use
}

const MiB = 1 << 20
const host = { freeBytes: 300 * MiB, totalBytes: 8 * MiB }

t.test('the KV cache takes half of the host\'s memory at most, since a GPU may share it', async t => {
  const use = useOf(await fitOn({}, { memory: { bytes: 1000 * MiB, source: 'stated' }, host }))
  t.ok(use.kvBytes <= 4 * MiB && use.kvBytes > 3.9 * MiB, `${use.kvBytes} bytes`)
})

t.test('on a software adapter it takes a quarter of what weights and workspace leave of the host\'s free memory', async t => {
  const use = useOf(await fitOn({ software: true }, { memory: { bytes: host.freeBytes, source: 'host' }, host }, 4000))
  const quarter = (host.freeBytes - use.weightBytes - use.workingBytes) / 4
  t.ok(use.kvBytes <= quarter && use.kvBytes > 0.99 * quarter, `${use.kvBytes} bytes of ${quarter}`)
})

t.test('where less memory is left the cache shrinks as the engine shrinks it', async t => {
  const whole = useOf(await fitOn({}, { memory: { bytes: 1000 * MiB, source: 'stated' }, host }))
  const use = useOf(await fitOn({}, { memory: { bytes: whole.totalBytes - 1, source: 'stated' }, host }))
  t.equal(use.kvTokens, 16 * Math.floor(whole.kvTokens / 16 * 0.75))
})

t.test('a buffer larger than a binding is an obstacle, however much memory there is', async t => {
  const fit = await fitOn({ maxBindingBytes: 1 << 16 }, { memory: undefined, host })
  t.match(fit, { type: 'does-not-fit', memory: undefined, obstacle: { code: 'ENGINE_OUT_OF_DEVICE_MEMORY' }, longestContext: undefined })
})
