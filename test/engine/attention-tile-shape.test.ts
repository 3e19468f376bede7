import t from 'tap'
import { UnsupportedModelError } from '@daybreak/engine'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { attentionTileBytes } from '../../packages/engine/src/kernels/attention/attention-tile.ts'
import { attentionTileShape } from '../../packages/engine/src/layers/attention-plan.ts'
import { namedShape } from '../../packages/engine/src/models/named-shapes.ts'

const adapter = (maxWorkgroupBytes: number, software: boolean): DeviceCapabilities => ({
  f16: true,
  subgroups: true,
  timestamps: true,
  subgroupMatrix: false,
  software,
  maxBindingBytes: 2 ** 27,
  maxWorkgroupThreads: 1024,
  maxWorkgroupBytes
})

t.test('every head dimension and group of the Llama family has an attention tile in 32 KiB of workgroup memory', async t => {
  for (const headDim of [32, 48, 64, 80, 96, 128]) {
    for (const group of [1, 2, 3, 4, 7, 8]) {
      for (const storage of ['f16', 'f32'] as const) {
        for (const software of [true, false]) {
          const config = { ...namedShape('daybreak-mini'), headDim, numHeads: 2 * group, numKVHeads: 2 }
          const shape = attentionTileShape(config, storage, adapter(32 << 10, software))
          t.ok(attentionTileBytes(shape, storage === 'f16' ? 2 : 4) <= 32 << 10, `${headDim}, ${group}, ${storage}: fits`)
          t.ok(shape.queries >= 1 && shape.threads >= headDim / 4 && shape.threads % Math.min(64, shape.staged) === 0, `${headDim}, ${group}, ${storage}: threads suffice`)
        }
      }
    }
  }
})

t.test('more workgroup memory gives a tile of at least as many rows', async t => {
  const config = namedShape('llama-3.2-1b')
  const small = attentionTileShape(config, 'f16', adapter(16 << 10, false))
  const large = attentionTileShape(config, 'f16', adapter(48 << 10, false))
  t.ok(large.queries * large.staged > small.queries * small.staged)
})

t.test('a head that fits no workgroup is refused by name', async t => {
  t.throws(() => attentionTileShape({ ...namedShape('daybreak-mini'), headDim: 1024 }, 'f32', adapter(16 << 10, false)), UnsupportedModelError)
})
