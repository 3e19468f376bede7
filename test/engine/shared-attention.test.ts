import t from 'tap'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { planEngine } from '../../packages/engine/src/engine-plan.ts'
import { namedShape } from '../../packages/engine/src/models/named-shapes.ts'

const capabilities: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10
}

t.test('prefixes are attended together, unless somebody does not want it', async t => {
  const groups = (deterministic: boolean, sharedAttention?: boolean): number => {
    const options = { dtype: 'auto', blockSize: 16, kvCacheBytes: undefined, maxModelLen: 2048, maxSequences: 8, maxBatchedTokens: 256, deterministic, sharedAttention } as const
    const plan = planEngine(namedShape('llama-3.2-1b'), options, { capabilities, report: { name: 'a GPU', subgroupMaxSize: 32 } })
    t.equal(plan.stepLayout.groups === undefined, plan.attention.groups.length === 0, 'the packer looks for groups where there are kernels for them')
    return plan.attention.groups.length
  }
  t.ok(groups(true) > 0, 'in order')
  t.equal(groups(true, false), 0)
  t.ok(groups(false) > 0, 'on tensor cores')
  t.equal(groups(false, false), 0)
})
