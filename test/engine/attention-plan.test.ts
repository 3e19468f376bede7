import t from 'tap'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { attentionMmaSplit, attentionMmaSplitBytes } from '../../packages/engine/src/kernels/attention/attention-mma-split.ts'
import { attentionMmaTile, attentionMmaTileBytes } from '../../packages/engine/src/kernels/attention/attention-mma-tile.ts'
import { attentionSplit } from '../../packages/engine/src/kernels/attention/attention-order.ts'
import { partialSplits } from '../../packages/engine/src/layers/activation-buffers.ts'
import { planAttention, splitKeys, tileTokens } from '../../packages/engine/src/layers/attention-plan.ts'
import type { AttentionPlan } from '../../packages/engine/src/layers/attention-plan.ts'
import type { ModelConfig } from '../../packages/engine/src/models/model-config.ts'
import { MODEL_SHAPE_NAMES, namedShape } from '../../packages/engine/src/models/named-shapes.ts'
import { workgroupBytes, workgroupThreads } from './kernels/workgroup-use.ts'

const adapter = (maxWorkgroupBytes: number): DeviceCapabilities => ({
  f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes
})
const large = adapter(48 << 10)
const fast = { tensorCores: true, deterministic: false, blockSize: 16 }

function aConfig (change: Partial<ModelConfig> & { readonly group?: number } = {}): ModelConfig {
  const { group = 3, ...rest } = change
  const shape = { ...namedShape('daybreak-mini'), ...rest }
  return { ...shape, numHeads: group * shape.numKVHeads }
}

t.test('tensor cores attend when there are some, when bits may depend on the batch, and when blocks are whole tiles', async t => {
  const typeFor = (change: Partial<typeof fast>): string => planAttention(aConfig(), 'f16', large, { ...fast, ...change }).type
  t.equal(typeFor({}), 'matrix')
  t.equal(typeFor({ tensorCores: false }), 'ordered')
  t.equal(typeFor({ deterministic: true }), 'ordered')
  for (const blockSize of [16, 32, 48, 128]) t.equal(typeFor({ blockSize }), 'matrix', `blocks of ${blockSize}`)
  for (const blockSize of [1, 8, 15, 17, 24, 40]) t.equal(typeFor({ blockSize }), 'ordered', `blocks of ${blockSize}`)
})

t.test('tensor cores attend for heads of whole tiles, up to eight of them on a KV head', async t => {
  const typeFor = (headDim: number, group: number): string => planAttention(aConfig({ headDim, group }), 'f16', large, fast).type
  for (const headDim of [16, 32, 48, 64, 80, 96, 112, 128]) {
    for (const group of [1, 2, 3, 4, 5, 6, 7, 8]) t.equal(typeFor(headDim, group), 'matrix', `heads of ${headDim}, ${group} on a KV head`)
  }
  t.equal(typeFor(256, 1), 'matrix')
  for (const headDim of [8, 20, 36, 72, 100]) t.equal(typeFor(headDim, 2), 'ordered', `heads of ${headDim}`)
  t.equal(typeFor(64, 9), 'ordered', 'nine heads on a KV head')
  t.equal(planAttention(aConfig({ headDim: 64, group: 2 }), 'f16', adapter(16 << 10), fast).type, 'ordered', 'in little memory')
})

t.test('both kernels of a plan fit the adapter, and take no more memory than was counted on', async t => {
  for (const [maxWorkgroupBytes, headDims] of [[48 << 10, [32, 64, 80, 96, 128, 256]], [32 << 10, [32, 64, 80, 96, 128]]] as const) {
    for (const headDim of headDims) {
      for (const group of [1, 2, 3, 4, 6, 7, 8]) {
        const plan = planAttention(aConfig({ headDim, group }), 'f16', adapter(maxWorkgroupBytes), fast)
        if (plan.type !== 'matrix') continue
        const name = `heads of ${headDim}, ${group} on a KV head, ${maxWorkgroupBytes >> 10} KiB`
        for (const [{ wgsl }, counted] of [[attentionMmaTile(plan.tile), attentionMmaTileBytes(plan.tile)], [attentionMmaSplit(plan.split), attentionMmaSplitBytes(plan.split)]] as const) {
          const bytes = workgroupBytes(wgsl)
          t.ok(bytes <= counted && counted <= maxWorkgroupBytes, `${name}: ${bytes} bytes, ${counted} counted`)
          t.ok(workgroupThreads(wgsl) <= 1024 && workgroupThreads(wgsl) % 32 === 0, `${name}: whole subgroups`)
        }
        t.equal(tileTokens(plan), 16 * plan.tile.tokenTiles, name)
        // Queries are padded by so many rows behind the last token: activation-buffers.ts.
        t.ok(tileTokens(plan) <= 128, name)
      }
    }
  }
})

t.test('a soft-cap is in the text of a plan\'s kernels, and no other model pays for it', async t => {
  const { attention } = namedShape('daybreak-mini')
  for (const softcap of [undefined, 50]) {
    const plan = planAttention(aConfig({ attention: { ...attention, softcap } }), 'f16', large, fast)
    t.strictSame(plan.type === 'matrix' && [plan.tile.capped, plan.split.capped], [softcap !== undefined, softcap !== undefined])
  }
})

const matrix = (config: ModelConfig): AttentionPlan => planAttention(config, 'f16', large, fast)

t.test('ordered attention has splits of one size, whatever the batch', async t => {
  const keys = splitKeys(planAttention(aConfig(), 'f16', large, { ...fast, deterministic: true }), 2)
  for (const [singles, longest] of [[0, 0], [1, 1], [1, 8192], [256, 100_000]] as const) t.equal(keys(singles, longest), attentionSplit)
})

t.test('on tensor cores a split is of whole runs of keys, and no smaller for more sequences or longer ones', async t => {
  for (const numKVHeads of [1, 2, 3, 8, 32]) {
    const keys = splitKeys(matrix(aConfig({ numKVHeads, group: 1 })), numKVHeads)
    t.equal(keys(0, 0), 32, 'also when nobody decodes')
    for (const singles of [1, 2, 7, 31, 64, 257]) {
      for (const longest of [1, 32, 33, 1000, 8191, 131_072]) {
        const own = keys(singles, longest)
        t.ok(own >= 32 && own % 32 === 0, `${numKVHeads} KV heads, ${singles} × ${longest}: ${own}`)
        t.ok(own <= keys(singles + 1, longest) && own <= keys(singles, longest + 1), 'monotonous')
      }
    }
  }
})

t.test('a few long sequences are split until the device is busy, and many sequences not at all', async t => {
  const numKVHeads = 8
  const keys = splitKeys(matrix(aConfig({ numKVHeads })), numKVHeads)
  const splits = (singles: number, longest: number): number => Math.ceil(longest / keys(singles, longest))
  for (const singles of [1, 2, 4, 8]) t.ok(singles * numKVHeads * splits(singles, 32_768) >= 512, `${singles} sequences: hundreds of workgroups`)
  for (const longest of [1, 100, 4096, 131_072]) t.equal(splits(128, longest), 1, `128 sequences of ${longest} keys`)
  t.equal(splits(1, 32), 1)
  t.equal(splits(1, 33), 2, 'beyond a run of keys a lone sequence is split')
})

t.test('the splits of every batch find room among the partial results, within limits that servers have', async t => {
  for (const name of MODEL_SHAPE_NAMES) {
    const config = namedShape(name)
    const plan = matrix(config)
    if (plan.type !== 'matrix') continue
    const keys = splitKeys(plan, config.numKVHeads)
    for (const [maxSequences, maxModelLen] of [[1, 8192], [32, 2048], [64, 8192], [64, 131_072], [256, 8192]] as const) {
      const longest = Math.min(maxModelLen, config.maxPositionEmbeddings)
      const room = partialSplits(config, { maxSequences, maxModelLen: longest }, large.maxBindingBytes)
      let most = 0
      for (let singles = 1; singles <= maxSequences; singles++) {
        for (let length = longest; length >= 1; length = Math.floor(length * 0.9)) most = Math.max(most, singles * Math.ceil(length / keys(singles, length)))
      }
      t.ok(most <= room, `${name}, ${maxSequences} sequences of ${longest}: at most ${most} splits, room for ${room}`)
    }
  }
})
