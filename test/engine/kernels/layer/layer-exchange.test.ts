import t from 'tap'
import { emptySet, exchangeLayout, exchangeSet, exchangeSets } from '../../../../packages/engine/src/kernels/layer/layer-exchange.ts'
import { layerProducts, turnsOf } from '../../../../packages/engine/src/kernels/layer/layer-shape.ts'
import type { WholeLayerShape } from '../../../../packages/engine/src/kernels/layer/layer-shape.ts'

const llama: WholeLayerShape = { hiddenSize: 2048, intermediateSize: 8192, numHeads: 32, numKVHeads: 8, headDim: 64, qkvBias: false, qkNorm: false, rows: 1, matrices: false, pieceBytes: 0, workgroups: 128, teams: 32, ahead: 4, subgroup: 32 }

t.test('every layer of every step finds its set empty, and empties none that is still read', t => {
  for (let layers = 2; layers <= 7; layers++) {
    const full = new Set<number>()
    for (let step = 0; step < 3; step++) {
      for (let layer = 0; layer < layers; layer++) {
        const [own, before] = [exchangeSet(layer, layers), exchangeSet((layer + layers - 1) % layers, layers)]
        if (full.has(own)) t.fail(`step ${step}: set ${own} of layer ${layer} of ${layers} is not empty`)
        if (own === before || own >= exchangeSets(layers)) t.fail(`layer ${layer} of ${layers} has set ${own}, the one before ${before}`)
        full.add(own)
        full.delete(before)
      }
    }
  }
  t.end()
})

t.test('parts of a set follow one another, and a set ends where the next may be bound', t => {
  const { qkv, parts, logSums, attended, output, gated, words, splits } = exchangeLayout(llama)
  t.strictSame([qkv, parts - qkv, logSums - parts, attended - logSums, output - attended, gated - output], [2, 3072, 16 * 1024, 16 * 32, 1024, 2048])
  t.equal(splits, 16)
  t.ok(words >= gated + 4096 && words % 64 === 0)
  t.strictSame([...emptySet(4, 7)], [0, 7, 0xffffffff, 0xffffffff])
  t.end()
})

const eight: WholeLayerShape = { ...llama, rows: 8, matrices: true, pieceBytes: 33 << 10 }
const large: WholeLayerShape = { ...llama, hiddenSize: 4096, intermediateSize: 14_336, headDim: 128 }

t.test('a set of several rows has room for all of each, and for sums that workgroups share', t => {
  const { qkv, parts, logSums, attended, output, gated, down, words, splits } = exchangeLayout(eight)
  t.strictSame([parts - qkv, logSums - parts, attended - logSums, output - attended, gated - output, down - gated], [8 * 3072, 16 * 1024, 16 * 32, 8 * 1024, 8 * 2048, 8 * 4096])
  t.equal(layerProducts(eight)?.down.across, 4)
  t.ok(words >= down + 4 * 8 * 2048)
  t.equal(splits, 16, 'parts of all rows together are as many as of one')
  t.end()
})

t.test('every K tile of every column is multiplied once', t => {
  const shapes = [
    llama, { ...llama, teams: 16, ahead: 8 }, large, { ...llama, hiddenSize: 896, intermediateSize: 4864, numHeads: 14, numKVHeads: 2, workgroups: 32 },
    eight, { ...eight, rows: 2, matrices: false }, { ...eight, rows: 4, matrices: false, teams: 16 }, { ...large, rows: 8, pieceBytes: 33 << 10 },
    { ...eight, hiddenSize: 896, intermediateSize: 4864, numHeads: 14, numKVHeads: 2, workgroups: 32 }
  ]
  for (const shape of shapes) {
    const products = layerProducts(shape)
    if (products === undefined) throw new TypeError('a shape cannot be dealt out')
    for (const product of Object.values(products)) {
      const { name, k, across, slots, sharers, abreast, rounds, pieces, depth, ahead } = product
      const label = `${name} of ${shape.hiddenSize}, ${shape.teams} teams, ${shape.rows} rows`
      t.equal(across * pieces * sharers * depth, k / 16, `${label}: workgroups that share a column, pieces and sharers have K between them`)
      t.equal(sharers * abreast, shape.teams, `${label}: every team has a share`)
      t.ok(rounds * abreast >= slots && (rounds - 1) * abreast < slots, `${label}: rounds are as many as columns ask for`)
      t.equal(turnsOf(product) * ahead, rounds * pieces * depth, `${label}: turns are whole`)
      t.ok(pieces === 1 || rounds === 1, `${label}: a piece is all that a turn of rounds needs`)
      t.equal(shape.rows === 1 ? 1 : across, name === 'down' ? across : 1, `${label}: only the down projection is shared`)
    }
  }
  t.equal(layerProducts(llama)?.gate_up.sharers, 4, 'teams that are many for few columns share them')
  const wide = { ...eight, hiddenSize: 1536, intermediateSize: 8960, numHeads: 12, numKVHeads: 2, headDim: 128, workgroups: 32 }
  t.equal(layerProducts(wide), undefined, 'matrices of several rounds, the sums of whose first would lie where the rows are')
  t.equal(layerProducts({ ...wide, matrices: false })?.gate_up.rounds, 2, 'lanes have their sums elsewhere')
  t.end()
})
