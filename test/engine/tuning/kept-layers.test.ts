import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { namedShape } from '@daybreak/engine'
import { KeptLayers, layerKey, parseLayerTable } from '../../../packages/engine/src/tuning/kept-layers.ts'

const adapter = { name: 'A card', driver: '1.2' }
const tried = [[128, 64], ['some loops']]
const choice = { rows: 1, workgroups: 128, teams: 32, ahead: 4, mostKeys: 2048 }

t.test('what was measured is read again, also that whole layers are not faster', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter, tried).add({ one: { choices: [choice], measuredKeys: 4096, measuredRows: 8 } })
  await new KeptLayers(folder, adapter, tried).add({ other: { choices: [], measuredKeys: 512, measuredRows: 1 } })
  t.strictSame(await new KeptLayers(folder, adapter, tried).read(), { one: { choices: [choice], measuredKeys: 4096, measuredRows: 8 }, other: { choices: [], measuredKeys: 512, measuredRows: 1 } })
  t.strictSame(await new KeptLayers(folder, { ...adapter, driver: '1.3' }, tried).read(), {}, 'another driver knows nothing of it')
  t.strictSame(await new KeptLayers(folder, adapter, [[128]]).read(), {}, 'nor does who tries something else')
  t.match(readdirSync(folder), [/^layers-a-card-[0-9a-f]{12}\.json$/])
})

t.test('a file that cannot be read is as none', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter, tried).add({ one: { choices: [choice], measuredKeys: 4096, measuredRows: 8 } })
  writeFileSync(join(folder, readdirSync(folder)[0] ?? ''), '{ "one": ')
  t.strictSame(await new KeptLayers(folder, adapter, tried).read(), {})
})

t.test('entries that are no measurements are left out', t => {
  const measured = { measuredKeys: 5, measuredRows: 8 }
  const good = { choices: [choice, { ...choice, rows: 8 }], ...measured }
  const none = { choices: [], ...measured }
  t.strictSame(parseLayerTable({
    good,
    none,
    keyless: { choices: [choice], measuredRows: 8 },
    rowless: { choices: [choice], measuredKeys: 5 },
    text: 'fast',
    noList: { choices: choice, ...measured },
    zero: { choices: [{ ...choice, workgroups: 0 }], ...measured },
    odd: { choices: [choice, { ...choice, teams: 12 }], ...measured },
    threeRows: { choices: [{ ...choice, rows: 3 }], ...measured },
    missing: { choices: [{ rows: 1, workgroups: 1, teams: 1, ahead: 1 }], ...measured }
  }), { good, none })
  t.strictSame(parseLayerTable(undefined), {})
  t.end()
})

t.test('models whose layers take other times have other entries', t => {
  const config = namedShape('llama-3.2-1b')
  const shape = { hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, qkvBias: false, qkNorm: false, rows: 1, matrices: false, workgroups: 128, teams: 32, ahead: 4, pieceBytes: 0, subgroup: 32 }
  const windowed = { ...config, layers: config.layers.map(layer => ({ ...layer, window: 4096 })) }
  const keys = [layerKey(shape, config), layerKey(shape, windowed), layerKey(shape, { ...config, vocabSize: 32_000 }), layerKey({ ...shape, qkNorm: true }, config), layerKey(shape, { ...config, layers: config.layers.slice(1) })]
  t.equal(new Set(keys).size, keys.length)
  t.equal(layerKey({ ...shape, workgroups: 64, teams: 16 }, config), keys[0], 'however their work is dealt out')
  t.end()
})
