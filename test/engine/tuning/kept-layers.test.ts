import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { KeptLayers, parseLayerTable } from '../../../packages/engine/src/tuning/kept-layers.ts'

const adapter = { name: 'A card', driver: '1.2' }
const choice = { workgroups: 128, teams: 32, ahead: 4, mostKeys: 2048 }

t.test('what was measured is read again, also that whole layers are not faster', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter).add({ one: { choice, measuredKeys: 4096 } })
  await new KeptLayers(folder, adapter).add({ other: { choice: undefined, measuredKeys: 512 } })
  t.strictSame(await new KeptLayers(folder, adapter).read(), { one: { choice, measuredKeys: 4096 }, other: { measuredKeys: 512 } })
  t.strictSame(await new KeptLayers(folder, { ...adapter, driver: '1.3' }).read(), {}, 'another driver knows nothing of it')
  t.match(readdirSync(folder), [/^layers-a-card-[0-9a-f]{12}\.json$/])
})

t.test('a file that cannot be read is as none', async t => {
  const folder = t.testdir()
  await new KeptLayers(folder, adapter).add({ one: { choice, measuredKeys: 4096 } })
  writeFileSync(join(folder, readdirSync(folder)[0] ?? ''), '{ "one": ')
  t.strictSame(await new KeptLayers(folder, adapter).read(), {})
})

t.test('entries that are no measurements are left out', t => {
  const good = { choice, measuredKeys: 1 }
  t.strictSame(parseLayerTable({
    good,
    none: { measuredKeys: 5 },
    keyless: { choice },
    text: 'fast',
    zero: { choice: { ...choice, workgroups: 0 }, measuredKeys: 5 },
    odd: { choice: { ...choice, teams: 12 }, measuredKeys: 5 },
    missing: { choice: { workgroups: 1, teams: 1, ahead: 1 }, measuredKeys: 5 }
  }), { good, none: { measuredKeys: 5 } })
  t.strictSame(parseLayerTable(undefined), {})
  t.end()
})
