import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { InvalidCheckpointError } from '../../../../packages/engine/src/errors.ts'
import { Checkpoint } from '../../../../packages/engine/src/weights/checkpoint.ts'
import type { CheckpointTensor } from '../../../../packages/engine/src/weights/checkpoint.ts'
import { dequantizedTensors } from '../../../../packages/engine/src/weights/quantized/dequantized-tensors.ts'
import type { WeightTensor } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { randomBelow } from '../random-below.ts'
import { writeSafetensors } from '../write-safetensors.ts'
import type { WrittenTensor } from '../write-safetensors.ts'
import { byName, memoryTensor } from './memory-tensors.ts'
import type { MemoryTensor } from './memory-tensors.ts'

const awq = { quant_method: 'awq', bits: 4, group_size: 32, zero_point: true, version: 'gemm' }
const gptq = { quant_method: 'gptq', bits: 4, group_size: 32, desc_act: true, sym: false }
const int8 = { quant_method: 'compressed-tensors', format: 'int-quantized', config_groups: { g: { targets: ['Linear'], weights: { num_bits: 8, type: 'int', symmetric: false, strategy: 'group', group_size: 32 } } } }
const packed = { ...int8, format: 'pack-quantized', config_groups: { g: { targets: ['Linear'], weights: { num_bits: 4, type: 'int', symmetric: false, strategy: 'group', group_size: 32 } } } }

/** [16, 64] with all codes, zeros and scales the same. */
function awqParts (module: string, code: number, zero: number, scale: number): MemoryTensor[] {
  return [
    memoryTensor(`${module}.qweight`, 'I32', [64, 2], new Uint32Array(128).fill(code * 0x11111111)),
    memoryTensor(`${module}.qzeros`, 'I32', [2, 2], new Uint32Array(4).fill(zero * 0x11111111)),
    memoryTensor(`${module}.scales`, 'F32', [2, 16], new Float32Array(32).fill(scale))
  ]
}

function weight (tensors: ReadonlyMap<string, WeightTensor>, name: string): WeightTensor {
  const found = tensors.get(name)
  if (found === undefined) throw new Error(`no ${name} among ${[...tensors.keys()].join(', ')}`)
  return found
}

t.test('quantised modules take their plain names and everything else is passed on', async t => {
  const raw = byName(
    memoryTensor('model.embed_tokens.weight', 'BF16', [4, 64], new Uint16Array(256)),
    ...awqParts('model.layers.0.self_attn.q_proj', 3, 1, 0.5),
    memoryTensor('model.layers.0.self_attn.q_proj.bias', 'F16', [16], new Uint16Array(16)),
    ...awqParts('model.layers.0.mlp.up_proj', 3, 1, 0.5),
    memoryTensor('model.layers.0.mlp.gate.weight', 'F16', [8, 64], new Uint16Array(512)),
    memoryTensor('model.norm.weight', 'F32', [64], new Float32Array(64))
  )
  const tensors = dequantizedTensors({ ...awq, modules_to_not_convert: ['gate'] }, raw, 'dir')
  t.strictSame([...tensors].map(([key, { name, format, shape }]) => [key === name, name, format, shape]).sort(), [
    [true, 'model.embed_tokens.weight', 'BF16', [4, 64]],
    [true, 'model.layers.0.mlp.gate.weight', 'F16', [8, 64]],
    [true, 'model.layers.0.mlp.up_proj.weight', 'awq int4', [16, 64]],
    [true, 'model.layers.0.self_attn.q_proj.bias', 'F16', [16]],
    [true, 'model.layers.0.self_attn.q_proj.weight', 'awq int4', [16, 64]],
    [true, 'model.norm.weight', 'F32', [64]]
  ])
})

t.test('a checkpoint in files is read through its header', async t => {
  const parts = awqParts('m', 12, 2, 0.125)
  const file: Record<string, WrittenTensor> = { 'norm.weight': { dtype: 'BF16', shape: [2], bytes: Uint8Array.of(0x80, 0x3f, 0, 0xc0) } }
  for (const { name, dtype, shape, byteLength, read } of parts) {
    const bytes = new Uint8Array(byteLength)
    await read(bytes, 0, byteLength)
    file[name] = { dtype, shape, bytes }
  }
  const directory = t.testdir({})
  await writeFile(join(directory, 'model.safetensors'), writeSafetensors(file))
  await using checkpoint = await Checkpoint.open(directory)
  const tensors = dequantizedTensors(awq, checkpoint.tensors, checkpoint.directory)
  const values = new Uint16Array(16 * 64)
  await weight(tensors, 'm.weight').readRowsInto(0, 16, values)
  t.strictSame(new Set(values), new Set([0x3d00]), '(12 − 2) · 0.125 is 1.25')
  const norm = new Float32Array(2)
  await weight(tensors, 'norm.weight').readRowsInto(0, 2, norm)
  t.strictSame([...norm], [1, -2])
})

t.test('rows asked for in order are read from the file once, and let go after the last', async t => {
  const parts = awqParts('m', 3, 1, 0.5)
  const size = parts.reduce((bytes, part) => bytes + part.byteLength, 0)
  const bytesRead = (): number => parts.reduce((bytes, part) => bytes + part.bytesRead, 0)
  const tensor = weight(dequantizedTensors(awq, byName(...parts), 'dir'), 'm.weight')
  t.equal(bytesRead(), 0, 'nothing is read before rows are asked for')
  for (let row = 0; row < 16; row += 4) await tensor.readRowsInto(row, 4, new Float32Array(256))
  t.equal(bytesRead(), size)
  await tensor.readRowsInto(0, 0, new Float32Array(0))
  t.equal(bytesRead(), size, 'no rows need nothing')
  await tensor.readRowsInto(0, 1, new Float32Array(64))
  t.equal(bytesRead(), 2 * size, 'it was not kept')
})

t.test('reading another weight lets the first one go, and neither reads the wrong one', async t => {
  const first = awqParts('a', 3, 1, 0.5)
  const second = awqParts('b', 9, 2, 0.25)
  const tensors = dequantizedTensors(awq, byName(...first, ...second), 'dir')
  const rows = [new Float32Array(64), new Float32Array(64), new Float32Array(64)] as const
  await Promise.all([weight(tensors, 'a.weight').readRowsInto(0, 1, rows[0]), weight(tensors, 'b.weight').readRowsInto(0, 1, rows[1])])
  await weight(tensors, 'a.weight').readRowsInto(1, 1, rows[2])
  t.strictSame(rows.map(row => [...new Set(row)]), [[1], [1.75], [1]])
  t.equal(first[0]?.bytesRead, 2 * 64 * 2 * 4)
})

t.test('a weight that could not be read is tried again', async t => {
  const [qweight, ...others] = awqParts('m', 3, 1, 0.5)
  if (qweight === undefined) throw new Error('no qweight')
  let failures = 1
  const flaky: CheckpointTensor = {
    ...qweight,
    async read (into, offset, length) {
      if (failures-- > 0) throw new InvalidCheckpointError('dir', 'ends too early', { tensor: 'm.qweight' })
      await qweight.read(into, offset, length)
    }
  }
  const tensor = weight(dequantizedTensors(awq, new Map<string, CheckpointTensor>([['m.qweight', flaky], ...byName(...others)]), 'dir'), 'm.weight')
  const row = new Float32Array(64)
  await t.rejects(tensor.readRowsInto(0, 1, row), { code: 'ENGINE_INVALID_CHECKPOINT' })
  await tensor.readRowsInto(0, 1, row)
  t.equal(row[5], 1)
})

t.test('rows and destinations out of bounds are refused', async t => {
  const tensor = weight(dequantizedTensors(awq, byName(...awqParts('m', 3, 1, 0.5)), 'dir'), 'm.weight')
  for (const [firstRow, numRows, length] of [[-1, 1, 64], [0, 17, 2000], [16, 1, 64], [0.5, 1, 64], [0, 2, 127]] as const) {
    await t.rejects(tensor.readRowsInto(firstRow, numRows, new Float32Array(length)), RangeError)
  }
})

t.test('a product that no f16 holds is an error in f16, and a value in f32', async t => {
  // 65,519 is the last that rounds to a finite f16; the larger table entries of the same group are not used.
  const cases = [[8, 7, 65_519, undefined], [8, 7, 65_520, 64], [7, 8, 65_520, 64], [2, 1, 65_519, undefined]] as const
  for (const [code, zero, scale, numOverflowed] of cases) {
    const tensor = weight(dequantizedTensors(awq, byName(...awqParts('m', code, zero, scale)), 'dir'), 'm.weight')
    const row = new Float32Array(64)
    await tensor.readRowsInto(0, 1, row)
    t.equal(row[63], (code - zero) * scale)
    const half = tensor.readRowsInto(0, 1, new Uint16Array(64))
    if (numOverflowed === undefined) await t.resolves(half)
    else await t.rejects(half, { code: 'ENGINE_WEIGHT_RANGE', details: { tensor: 'm.weight', from: 'awq int4', to: 'f16', numOverflowed, numValues: 64 } })
  }
})

t.test('a row of few columns, whose products are made one by one, overflows alike', async t => {
  const parts = byName(
    memoryTensor('m.weight', 'I8', [2, 32], new Int8Array(64).fill(3)),
    memoryTensor('m.weight_scale', 'F32', [2, 1], Float32Array.of(1, 30_000)),
    memoryTensor('m.weight_zero_point', 'I8', [2, 1], Int8Array.of(0, 0))
  )
  const tensor = weight(dequantizedTensors(int8, parts, 'dir'), 'm.weight')
  await t.resolves(tensor.readRowsInto(0, 1, new Uint16Array(32)))
  await t.rejects(tensor.readRowsInto(0, 2, new Uint16Array(64)), { code: 'ENGINE_WEIGHT_RANGE', details: { numOverflowed: 32 } })
})

t.test('whatever the tensors are, a checkpoint is read within bounds or refused with a typed error', async t => {
  const seed = 20_261_124
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  const pick = <const Value>(values: readonly [Value, ...Value[]]): Value => values[below(values.length)] ?? values[0]
  const words = (count: number): Uint32Array => Uint32Array.from({ length: count }, () => below(2 ** 32))
  const bytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => below(256))
  const halves = (count: number): Uint16Array => Uint16Array.from({ length: count }, () => below(20) === 0 ? below(65_536) : below(0x3000))
  const order = Int32Array.from({ length: 64 }, (_, i) => i % 2)
  const whole = [
    { config: awq, parts: [['qweight', 'I32', [64, 2], words], ['qzeros', 'I32', [2, 2], words], ['scales', 'F16', [2, 16], halves]] },
    { config: gptq, parts: [['qweight', 'I32', [8, 16], words], ['qzeros', 'I32', [2, 2], words], ['scales', 'BF16', [2, 16], halves], ['g_idx', 'I32', [64], () => order]] },
    { config: int8, parts: [['weight', 'I8', [16, 64], bytes], ['weight_scale', 'F16', [16, 2], halves], ['weight_zero_point', 'I8', [16, 2], bytes]] },
    { config: packed, parts: [['weight_packed', 'I32', [16, 8], words], ['weight_shape', 'I64', [2], () => BigInt64Array.of(16n, 64n)], ['weight_scale', 'F16', [16, 2], halves], ['weight_zero_point', 'I32', [2, 2], words]] }
  ] as const
  const bytesPerValue = { I8: 1, F16: 2, BF16: 2, I32: 4, F32: 4, I64: 8 } as const
  const outcomes = { read: 0, refused: 0 }
  for (let round = 0; round < 2000; round++) {
    const { config, parts } = whole[below(whole.length)] ?? whole[0]
    const damaged = below(4) === 0 ? -1 : below(parts.length)
    const raw = new Map<string, CheckpointTensor>()
    parts.forEach(([suffix, dtype, shape, values], i) => {
      const kind = i === damaged ? below(4) : -1
      if (kind === 0) return
      const storedAs = kind === 1 ? pick(['I8', 'F16', 'BF16', 'I32', 'F32', 'I64']) : dtype
      const stored = kind === 2 ? shape.map(size => pick([size, size, 0, 1, size + 1, size * 2, Math.floor(size / 2)])) : [...shape]
      if (kind === 3) stored[pick([0, 1])] = below(40)
      const count = stored.reduce((product, size) => product * (size ?? 0), 1)
      const filler = storedAs === dtype && count === shape.reduce((product: number, size) => product * size, 1) ? values(count) : bytes(count * bytesPerValue[storedAs])
      raw.set(`m.${suffix}`, memoryTensor(`m.${suffix}`, storedAs, stored.map(size => size ?? 0), filler))
    })
    const group = pick([32, 32, 32, -1, 1, 64, 7])
    try {
      const settings = 'config_groups' in config ? config : { ...config, group_size: group }
      const tensor = dequantizedTensors(settings, raw, 'dir').get('m.weight')
      if (tensor === undefined || tensor.format.length < 5) continue
      const [numRows = 0, numColumns = 0] = tensor.shape
      const from = below(numRows)
      const count = 1 + below(numRows - from)
      const values = new Float32Array(count * numColumns)
      await tensor.readRowsInto(from, count, values)
      if (!values.every(Number.isFinite)) t.fail(`round ${round}: a value is not finite`)
      outcomes.read++
    } catch (error) {
      outcomes.refused++
      if (!(error instanceof InvalidCheckpointError)) t.fail(`round ${round}: ${String(error)}`)
    }
  }
  t.comment(outcomes)
  t.ok(outcomes.read > 200 && outcomes.refused > 1000, 'both outcomes occur')
})
