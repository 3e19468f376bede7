import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { namedShape } from '@daybreak/engine'
import { KeptLayers, layerKey, parseLayerTable } from '../../../packages/engine/src/tuning/kept-layers.ts'

const adapter = { name: 'A card', driver: '1.2' }
const tried = [[128, 64], ['some loops']]
const measured = { rows: 1, workgroups: 128, teams: 32, ahead: 4, mostKeys: 2048, measuredKeys: 4096 }
const slower = { ...measured, rows: 8, mostKeys: 0 }

t.test('what was measured is read again, also that whole layers are not faster', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter, tried).add({ one: [measured, slower] })
  await new KeptLayers(folder, adapter, tried).add({ other: [] })
  t.strictSame(await new KeptLayers(folder, adapter, tried).read(), { one: [measured, slower], other: [] })
  t.strictSame(await new KeptLayers(folder, { ...adapter, driver: '1.3' }, tried).read(), {}, 'another driver knows nothing of it')
  t.strictSame(await new KeptLayers(folder, adapter, [[128]]).read(), {}, 'nor does who tries something else')
  t.match(readdirSync(folder), [/^layers-a-card-[0-9a-f]{12}\.json$/])
})

t.test('a file that cannot be read is as none', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter, tried).add({ one: [measured] })
  writeFileSync(join(folder, readdirSync(folder)[0] ?? ''), '{ "one": ')
  t.strictSame(await new KeptLayers(folder, adapter, tried).read(), {})
})

t.test('entries that are no measurements are left out', t => {
  const without = (name: string): object => Object.fromEntries(Object.entries(measured).filter(([key]) => key !== name))
  t.strictSame(parseLayerTable({
    good: [measured, slower],
    none: [],
    noList: measured,
    text: 'fast',
    keyless: [without('measuredKeys')],
    rowless: [measured, without('rows')],
    noWorkgroup: [{ ...measured, workgroups: 0 }],
    odd: [measured, { ...measured, teams: 12 }],
    threeRows: [{ ...measured, rows: 3 }],
    negative: [{ ...measured, mostKeys: -1 }],
    half: [{ ...measured, mostKeys: 0.5 }]
  }), { good: [measured, slower], none: [] })
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
