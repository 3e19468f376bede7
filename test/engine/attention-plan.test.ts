import t from 'tap'
import type { DeviceCapabilities } from '../../packages/engine/src/device/device-capabilities.ts'
import { attentionMmaGroup, attentionMmaGroupBytes, attentionMmaGroupMembers } from '../../packages/engine/src/kernels/attention/attention-mma-group.ts'
import { attentionMmaTile, attentionMmaTileBytes } from '../../packages/engine/src/kernels/attention/attention-mma-tile.ts'
import { attentionSplit } from '../../packages/engine/src/kernels/attention/attention-order.ts'
import { attentionVector, attentionVectorBytes, attentionVectorRun } from '../../packages/engine/src/kernels/attention/attention-vector.ts'
import { partialSplits } from '../../packages/engine/src/layers/activation-buffers.ts'
import { chooseSplit, planAttention, tileTokens } from '../../packages/engine/src/layers/attention-plan.ts'
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

t.test('the kernels of a plan fit the adapter, and take no more memory than was counted on', async t => {
  for (const [maxWorkgroupBytes, headDims] of [[48 << 10, [32, 64, 80, 96, 128, 256]], [32 << 10, [32, 64, 80, 96, 128]]] as const) {
    for (const headDim of headDims) {
      for (const group of [1, 2, 3, 4, 6, 7, 8]) {
        const plan = planAttention(aConfig({ headDim, group }), 'f16', adapter(maxWorkgroupBytes), fast)
        if (plan.type !== 'matrix') continue
        const name = `heads of ${headDim}, ${group} on a KV head, ${maxWorkgroupBytes >> 10} KiB`
        t.ok(plan.groups.length > 0 && plan.groups.every(({ subgroups }, i) => subgroups > (plan.groups[i - 1]?.subgroups ?? 0)), `${name}: groups of ${plan.groups.map(attentionMmaGroupMembers).join()}`)
        const groups = plan.groups.map(shape => [attentionMmaGroup(shape), attentionMmaGroupBytes(shape)] as const)
        const splits = plan.splits.map(shape => [attentionVector(shape), attentionVectorBytes(shape)] as const)
        t.equal(plan.splits[0]?.subgroups, 1, `${name}: a split of one subgroup`)
        for (const [{ wgsl }, counted] of [[attentionMmaTile(plan.tile), attentionMmaTileBytes(plan.tile)] as const, ...splits, ...groups]) {
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

t.test('keys that rows share are staged by 64 where these and their scores find room, and by 32 elsewhere', async t => {
  const staged = (headDim: number, group: number, maxWorkgroupBytes: number): Array<readonly number[]> => {
    const plan = planAttention(aConfig({ headDim, group }), 'f16', adapter(maxWorkgroupBytes), fast)
    return plan.type === 'matrix' ? plan.groups.map(({ subgroups, keys }) => [subgroups, keys]) : []
  }
  t.strictSame(staged(32, 4, 48 << 10), [[1, 64], [2, 64], [4, 64]])
  // A lone subgroup would hold half a stage in registers.
  t.strictSame(staged(64, 4, 48 << 10), [[1, 32], [2, 64], [4, 64]])
  t.strictSame(staged(64, 4, 32 << 10), [[1, 32], [2, 64], [4, 32]])
  t.strictSame(staged(128, 4, 48 << 10), [[1, 32], [2, 32], [4, 32]])
  t.strictSame(staged(128, 3, 32 << 10), [[1, 32], [2, 32], [4, 32]])
  t.strictSame(staged(256, 2, 48 << 10), [[1, 32], [2, 32], [4, 32]])
})

t.test('a soft-cap is in the text of a plan\'s kernels, and no other model pays for it', async t => {
  const { attention } = namedShape('daybreak-mini')
  for (const softcap of [undefined, 50]) {
    const plan = planAttention(aConfig({ attention: { ...attention, softcap } }), 'f16', large, fast)
    t.strictSame(plan.type === 'matrix' && [plan.tile.capped, plan.splits[0]?.capped, plan.groups[0]?.capped], new Array(3).fill(softcap !== undefined))
  }
})

const matrix = (config: ModelConfig): AttentionPlan => planAttention(config, 'f16', large, fast)

t.test('ordered attention has splits of one size, whatever the batch', async t => {
  const split = chooseSplit(planAttention(aConfig(), 'f16', large, { ...fast, deterministic: true }), 2)
  for (const [singles, longest] of [[0, 0], [1, 1], [1, 8192], [256, 100_000]] as const) t.same(split(singles, longest), { keys: attentionSplit, subgroups: 1 })
})

t.test('a split is of whole runs of keys, and has subgroups of which there is a kernel and which have work', async t => {
  for (const numKVHeads of [1, 2, 3, 8, 32]) {
    const plan = matrix(aConfig({ numKVHeads, group: 1 }))
    const split = chooseSplit(plan, numKVHeads)
    t.same(split(0, 0), { keys: 32, subgroups: 1 }, 'also when nobody decodes')
    for (const singles of [1, 2, 7, 31, 64, 257]) {
      for (const longest of [1, 32, 33, 1000, 8191, 131_072]) {
        const { keys, subgroups } = split(singles, longest)
        t.ok(keys >= 32 && keys % 32 === 0, `${numKVHeads} KV heads, ${singles} × ${longest}: ${keys}`)
        t.ok(plan.type === 'matrix' && plan.splits.some(shape => shape.subgroups === subgroups), `${subgroups} subgroups`)
        // A lone row's last ones may have none, so that there is one for each of the others' turns.
        t.ok(singles === 1 ? plan.type === 'matrix' && attentionVectorRun(plan.tile) * subgroups < 2 * keys : 32 * subgroups <= keys, `${subgroups} subgroups for ${keys} keys`)
      }
    }
  }
})

t.test('a few long sequences are split until the device is busy, and many sequences not at all', async t => {
  const numKVHeads = 8
  const split = chooseSplit(matrix(aConfig({ numKVHeads })), numKVHeads)
  const splits = (singles: number, longest: number): number => Math.ceil(longest / split(singles, longest).keys)
  for (const singles of [1, 2, 4, 8]) t.ok(singles * numKVHeads * splits(singles, 32_768) * split(singles, 32_768).subgroups >= 1024, `${singles} sequences: a thousand subgroups`)
  for (const singles of [8, 32, 64]) t.equal(splits(singles, 600), 1, `${singles} sequences of 600 keys have a workgroup each and need no merge`)
  for (const longest of [1, 100, 4096, 131_072]) t.equal(splits(128, longest), 1, `128 sequences of ${longest} keys`)
  const atOnce = 8 * attentionVectorRun({ headDim: aConfig().headDim, group: 3 })
  t.equal(splits(1, atOnce), 1)
  t.equal(splits(1, atOnce + 1), 2, 'beyond what eight subgroups attend at a time a lone sequence is split')
  t.equal(splits(1, 8 * atOnce), 8, 'into as many parts as the projection behind it merges')
})

t.test('where workgroups of most subgroups would crowd a processor they have fewer loads under way, and more rows have fewer subgroups', async t => {
  const plan = matrix(aConfig({ numKVHeads: 8, headDim: 64, group: 4 }))
  if (plan.type !== 'matrix') throw new Error('no tensor cores')
  t.strictSame(plan.splits.map(({ subgroups, loads, leastRows }) => [subgroups, loads, leastRows]), [[1, undefined, undefined], [2, undefined, undefined], [4, undefined, undefined], [8, undefined, undefined], [8, 4, 129]])
  const split = chooseSplit(plan, 8)
  t.strictSame([16, 17, 32, 33, 64].map(singles => split(singles, 600).subgroups), [8, 8, 8, 4, 4])
  const inFlight = (singles: number, longest: number): number => {
    const { keys, subgroups } = split(singles, longest)
    return singles * 8 * Math.ceil(longest / keys) * subgroups
  }
  for (const singles of [17, 20, 27]) t.ok(inFlight(singles, 4096) >= 1600, `${singles} long sequences are still split: ${inFlight(singles, 4096)} subgroups`)
  t.equal(split(32, 4096).keys, 4096, 'those that fill the device are not')
  const few = matrix(aConfig({ numKVHeads: 8, headDim: 64, group: 8 }))
  t.equal(few.type === 'matrix' && few.splits.some(({ leastRows }) => leastRows !== undefined), false, 'heads whose sums leave room for four loads anyway have no other kernel')
})

t.test('the splits of every batch find room among the partial results, within limits that servers have', async t => {
  for (const name of MODEL_SHAPE_NAMES) {
    const config = namedShape(name)
    const plan = matrix(config)
    if (plan.type !== 'matrix') continue
    const split = chooseSplit(plan, config.numKVHeads)
    for (const [maxSequences, maxModelLen] of [[1, 8192], [32, 2048], [64, 8192], [64, 131_072], [256, 8192]] as const) {
      const longest = Math.min(maxModelLen, config.maxPositionEmbeddings)
      const room = partialSplits(config, { maxSequences, maxModelLen: longest }, large.maxBindingBytes)
      let most = 0
      for (let singles = 1; singles <= maxSequences; singles++) {
        for (let length = longest; length >= 1; length = Math.floor(length * 0.9)) most = Math.max(most, singles * Math.ceil(length / split(singles, length).keys))
      }
      t.ok(most <= room, `${name}, ${maxSequences} sequences of ${longest}: at most ${most} splits, room for ${room}`)
    }
  }
})
