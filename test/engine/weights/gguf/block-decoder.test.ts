import { createHash } from 'node:crypto'
import t from 'tap'
import { BLOCK_DECODERS } from '../../../../packages/engine/src/weights/gguf/block-decoder.ts'
import type { BlockTypeName } from '../../../../packages/engine/src/weights/gguf/block-decoder.ts'
import { GGML_TYPES, ggmlType } from '../../../../packages/engine/src/weights/gguf/ggml-types.ts'
import { randomBelow } from '../random-below.ts'
import { referenceValue } from './reference-blocks.ts'

const blockTypes = [...GGML_TYPES.values()].map(({ name }) => name)
  .filter((name): name is BlockTypeName => name !== 'F32' && name !== 'F16' && name !== 'BF16')

/** All magnitudes of IQ2_XXS, read off blocks whose scale is one and whose signs are plus. */
function decodedCodebook (): readonly number[] {
  return Array.from({ length: 8 }, (_, part) => {
    const block = new Uint8Array(66)
    block.set([0x00, 0x48]) // f16 8; times one half, times one quarter
    for (let point = 0; point < 32; point++) block[2 + 8 * Math.floor(point / 4) + point % 4] = 32 * part + point
    const values = new Float32Array(256)
    BLOCK_DECODERS.IQ2_XXS(block, 0, 1, values, 0)
    return [...values]
  }).flat()
}

t.test('the codebook of IQ2_XXS is ggml\'s', async t => {
  const codebook = decodedCodebook()
  t.strictSame(codebook.slice(0, 32), [
    8, 8, 8, 8, 8, 8, 8, 8, 43, 8, 8, 8, 8, 8, 8, 8, 25, 25, 8, 8, 8, 8, 8, 8, 8, 43, 8, 8, 8, 8, 8, 8
  ])
  // Of the 2,048 bytes of iq2xxs_grid in ggml-common.h, its words little-endian.
  t.equal(createHash('sha256').update(Uint8Array.from(codebook)).digest('hex'), '05826b5d3e472a3a78f196be62ac78acf81df0f909626e12ab9fa2a5d490dd54')
})

t.test('every format is decoded bit for bit as its definition reads', async t => {
  const codebook = decodedCodebook()
  const seed = 20_261_122
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  for (const type of blockTypes) {
    const { valuesPerBlock, bytesPerBlock } = ggmlType(type)
    const reference = referenceValue(type, codebook)
    const numBlocks = 96
    // Random bytes have scales of all magnitudes, subnormal, infinite and NaN among them; at an odd position, with bytes around.
    const source = Uint8Array.from({ length: numBlocks * bytesPerBlock + 6 }, () => below(256))
    const values = new Float32Array(numBlocks * valuesPerBlock + 2).fill(7)
    BLOCK_DECODERS[type](source, 3, numBlocks, values, 1)
    const expected = Float32Array.from({ length: numBlocks * valuesPerBlock }, (_, i) => {
      const at = 3 + Math.floor(i / valuesPerBlock) * bytesPerBlock
      return reference(source.subarray(at, at + bytesPerBlock), i % valuesPerBlock)
    })
    const different = expected.findIndex((value, i) => !Object.is(value, values[1 + i]))
    t.equal(different, -1, `${type}: first difference at ${different}`)
    t.ok(expected.filter(Number.isFinite).length > numBlocks * valuesPerBlock / 2, `${type}: most values are finite`)
    t.equal(new Set(expected).size > 100, true, `${type}: values differ`)
    t.strictSame([values[0], values.at(-1)], [7, 7], `${type}: nothing else is written`)
  }
})

t.test('blocks made by hand have the values they were made of', async t => {
  const decode = (type: BlockTypeName, bytes: readonly number[]): number[] => {
    const { valuesPerBlock, bytesPerBlock } = ggmlType(type)
    const values = new Float32Array(valuesPerBlock)
    BLOCK_DECODERS[type](Uint8Array.from({ length: bytesPerBlock }, (_, i) => bytes[i] ?? 0), 0, 1, values, 0)
    return [...values]
  }
  const one = [0x00, 0x3c]
  const two = [0x00, 0x40]
  t.strictSame(decode('Q8_0', [...two, 0, 1, 255, 127, 128]).slice(0, 6), [0, 2, -2, 254, -256, 0])
  const q40 = decode('Q4_0', [...one, 0x8f, 0x70])
  t.strictSame([q40[0], q40[1], q40[2], q40[16], q40[17], q40[18]], [7, -8, -8, 0, -1, -8])
  const q41 = decode('Q4_1', [...two, ...one, 0x21])
  t.strictSame([q41[0], q41[16], q41[1]], [3, 5, 1])
  // Fifth bits of values 0 and 17.
  const q50 = decode('Q5_0', [...one, 0x01, 0x00, 0x02, 0x00, 0x03, 0x50])
  t.strictSame([q50[0], q50[1], q50[16], q50[17]], [3, -16, -16, 5])
  t.strictSame(decode('IQ4_NL', [...one, 0xf0]).filter((_, i) => i === 0 || i === 16), [-127, 113])
})
