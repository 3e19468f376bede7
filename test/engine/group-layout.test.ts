import t from 'tap'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { attentionGroupKernel, attentionGroupBytes } from '../../packages/engine/src/kernels/attention/attention-group.ts'
import { planAttention } from '../../packages/engine/src/layers/attention-plan.ts'
import type { AttentionPlan } from '../../packages/engine/src/layers/attention-plan.ts'
import { groupLayout } from '../../packages/engine/src/layers/group-layout.ts'
import type { ModelConfig } from '../../packages/engine/src/models/model-config.ts'
import { namedShape } from '../../packages/engine/src/models/named-shapes.ts'
import type { GroupLayout } from '../../packages/engine/src/single-rows.ts'
import { workgroupBytes } from './kernels/workgroup-use.ts'

const adapter: DeviceCapabilities = {
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10
}
const llama = namedShape('llama-3.2-1b')

function planned (config: ModelConfig, deterministic: boolean, capabilities = adapter): AttentionPlan {
  return planAttention(config, 'f16', capabilities, { tensorCores: true, deterministic, blockSize: 16 })
}

function layoutFor (config: ModelConfig, deterministic: boolean, capabilities = adapter): GroupLayout | undefined {
  return groupLayout(planned(config, deterministic, capabilities), config, 'f16', capabilities)
}

t.test('on tensor cores the heads of four rows fill a tile, and groups of one tile to four are told apart', async t => {
  t.match(layoutFor(llama, false), { sizes: [4, 8, 16], unit: 32, leastMembers: 4, leastKeys: 128 })
  t.match(layoutFor({ ...llama, numHeads: llama.numKVHeads }, false), { sizes: [16, 32, 64] })
  t.match(layoutFor({ ...llama, numHeads: 7 * llama.numKVHeads }, false), { sizes: [2, 4, 9] })
})

t.test('where summation is ordered, prefixes are whole splits and more than half of a group is there', async t => {
  t.match(layoutFor(llama, true), { sizes: [4], unit: 128, leastMembers: 3, leastKeys: 128 })
  t.equal(layoutFor(llama, true)?.partKeys(4, [4096]), 128)
  for (const [maxWorkgroupBytes, headDims] of [[32 << 10, [32, 64, 128]], [48 << 10, [32, 64, 128, 256]]] as const) {
    for (const headDim of headDims) {
      for (const group of [1, 2, 3, 4, 7, 8]) {
        const plan = planned({ ...llama, headDim, numHeads: group * llama.numKVHeads }, true, { ...adapter, maxWorkgroupBytes })
        for (const shape of plan.type === 'ordered' ? plan.groups : []) {
          // With 16-bit keys, as f16 declares them: elem4 is counted as two words.
          const bytes = workgroupBytes(attentionGroupKernel(shape).wgsl.replaceAll('array<elem4, ', 'array<vec2<f32>, '))
          t.ok(bytes <= attentionGroupBytes(shape, 2) && bytes <= maxWorkgroupBytes, `heads of ${headDim}, ${group} on a KV head, ${maxWorkgroupBytes >> 10} KiB: ${bytes} bytes`)
          t.ok(shape.queries > 1)
        }
      }
    }
  }
})

t.test('parts are as many as run side by side, and no shorter than their results are worth', async t => {
  const keys = (size: number, ...prefixes: readonly number[]): number | undefined => layoutFor(llama, false)?.partKeys(size, prefixes)
  // 1,024 workgroups of one subgroup run side by side, 256 of four: of eight KV heads 128 parts, or 32.
  t.equal(keys(16, 2048, 2048, 2048, 2048), 256)
  t.equal(keys(4, 2048, 2048, 2048, 2048), 128)
  t.equal(keys(16, 2048), 128)
  t.equal(keys(16, 65_536), 2048)
  t.equal(keys(16, ...new Array<number>(100).fill(512)), 512, 'more groups than run side by side are not cut')
  const uneven = keys(16, 8192, ...new Array<number>(10).fill(512)) ?? NaN
  t.ok(Math.ceil(8192 / uneven) + 10 * Math.ceil(512 / uneven) <= 32 && uneven <= 512, `a long prefix among short ones is cut: ${uneven}`)
  for (const prefixes of [[32], [160, 4096], [100_000, 33 * 32]]) {
    for (const size of [4, 8, 16]) t.equal((keys(size, ...prefixes) ?? NaN) % 32, 0, 'whole runs')
  }
})

t.test('on tensor cores a group saves what its rows are more than staging and tiles are worth', async t => {
  const saved = (config: ModelConfig, members: number): number => layoutFor(config, false)?.rowsSaved(members) ?? NaN
  t.strictSame([2, 3, 4, 5, 8, 16, 64].map(members => saved(llama, members)), [-1, 0, 1, 0.5, 3.5, 8.5, 34], 'of 64 rows, four workgroups stage each key')
  t.strictSame([2, 3, 16].map(members => saved({ ...llama, numHeads: 8 * llama.numKVHeads }, members)), [0.5, 0.75, 8.5], 'with eight heads a row takes twice as long by itself')
  t.strictSame([2, 4, 16].map(members => saved({ ...llama, numHeads: llama.numKVHeads }, members)), [-1, 1, 13], 'a tile holds 16 rows of one head')
  t.strictSame([3, 4].map(members => layoutFor(llama, true)?.rowsSaved(members)), [2, 3], 'where summation is ordered, all but one')
})

t.test('what is saved outweighs the dispatches that it takes, by the bytes that a key has', async t => {
  // 2 KiB a key and layer.
  t.equal(layoutFor(llama, false)?.leastSavedKeys, 94e6 / 2048)
  t.equal(layoutFor(llama, true)?.leastSavedKeys, 6e6 / 2048)
  t.equal(layoutFor(llama, true, { ...adapter, software: true })?.leastSavedKeys, 0)
})

t.test('layers of several windows count by their share', async t => {
  const gemma = namedShape('gemma-3-1b')
  const windows = layoutFor(gemma, false)?.windows ?? []
  t.strictSame(windows.map(({ window }) => window).sort((a, b) => a - b), [512, Infinity])
  t.ok(Math.abs(windows.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9)
  t.strictSame(layoutFor(llama, false)?.windows, [{ window: Infinity, share: 1 }])
})
