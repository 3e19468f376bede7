import t from 'tap'
import { readGgufHeader } from '../../../../packages/engine/src/weights/gguf/header.ts'
import type { GgufHeader } from '../../../../packages/engine/src/weights/gguf/header.ts'
import { memorySource } from '../memory-source.ts'
import { bool, f32, numbers, text, texts, u32, writeGguf } from './write-gguf.ts'
import type { WrittenGguf, WrittenTensor, WrittenValue } from './write-gguf.ts'

const read = (bytes: Uint8Array): Promise<GgufHeader> => readGgufHeader(memorySource(bytes))
const tensor = (name: string, dimensions: ReadonlyArray<number | bigint>, more: Partial<WrittenTensor> = {}): WrittenTensor =>
  ({ name, type: 0, dimensions, ...more, bytes: more.bytes ?? new Uint8Array(4 * dimensions.reduce<number>((size, n) => size * Number(n), 1)) })
const u64 = (value: bigint): WrittenValue => ({ type: 'u64', value })

t.test('every type of value comes back, in both versions', async t => {
  const scalars: ReadonlyArray<readonly [WrittenValue, unknown]> = [
    [{ type: 'u8', value: 255 }, 255], [{ type: 'i8', value: -128 }, -128], [{ type: 'u16', value: 65_535 }, 65_535], [{ type: 'i16', value: -32_768 }, -32_768],
    [u32(4_294_967_295), 4_294_967_295], [{ type: 'i32', value: -2_147_483_648 }, -2_147_483_648], [f32(0.5), 0.5], [{ type: 'f64', value: 0.1 }, 0.1],
    [u64(2n ** 53n - 1n), 2 ** 53 - 1], [{ type: 'i64', value: -(2n ** 53n) + 1n }, -(2 ** 53) + 1], [bool(true), true], [bool(false), false],
    [text('größer 🦜'), 'größer 🦜'], [text(''), ''], [text('\ufeffmarked'), '\ufeffmarked']
  ]
  const arrays: ReadonlyArray<readonly [WrittenValue, unknown]> = [
    [numbers('u8', [0, 255]), Uint8Array.of(0, 255)], [numbers('i8', [-1]), Int8Array.of(-1)], [numbers('u16', [65_535]), Uint16Array.of(65_535)],
    [numbers('i16', [-2]), Int16Array.of(-2)], [numbers('u32', []), new Uint32Array(0)], [numbers('i32', [-3, 3]), Int32Array.of(-3, 3)],
    [numbers('f32', [0.25, -1]), Float32Array.of(0.25, -1)], [numbers('f64', [0.1]), Float64Array.of(0.1)],
    [{ type: 'array', of: 'bool', values: [bool(true), bool(false)] }, Uint8Array.of(1, 0)],
    [{ type: 'array', of: 'u64', values: [u64(2n ** 40n)] }, Float64Array.of(2 ** 40)],
    [{ type: 'array', of: 'i64', values: [{ type: 'i64', value: -1n }] }, Float64Array.of(-1)],
    [texts(['a', '', '▁der']), ['a', '', '▁der']], [texts([]), []]
  ]
  const all = [...scalars, ...arrays]
  for (const version of [2, 3] as const) {
    const header = await read(writeGguf({ version, metadata: all.map(([value], i) => [`key ${i}`, value]) }))
    t.equal(header.version, version)
    t.strictSame([...header.metadata.values()], all.map(([, value]) => value))
    t.strictSame([...header.metadata.keys()], all.map((_, i) => `key ${i}`))
  }
})

t.test('tensors are found where they lie, their shapes row-major', async t => {
  const file = writeGguf({
    tensors: [tensor('matrix', [8, 3]), tensor('vector', [5]), tensor('scalar', []), tensor('stack', [4, 3, 2]), tensor('empty', [7, 0])]
  })
  const { tensors, dataOffset, alignment } = await read(file)
  t.equal(alignment, 32)
  t.equal(dataOffset % 32, 0)
  t.strictSame([...tensors.values()].map(({ name, type, shape, byteOffset, byteLength }) => [name, type, shape, byteOffset - dataOffset, byteLength]), [
    ['matrix', 'F32', [3, 8], 0, 96],
    ['vector', 'F32', [5], 96, 20],
    ['scalar', 'F32', [], 128, 4],
    ['stack', 'F32', [2, 3, 4], 160, 96],
    ['empty', 'F32', [0, 7], 256, 0]
  ])
  t.equal(dataOffset + 256, file.byteLength)
})

t.test('a block format takes whole blocks of a row', async t => {
  const quantised = (type: number, dimensions: number[], bytes: number): WrittenGguf => ({ tensors: [tensor('a', dimensions, { type, bytes: new Uint8Array(bytes) })] })
  const sizes: ReadonlyArray<readonly [number, string, number, number]> = [
    [1, 'F16', 1, 2], [30, 'BF16', 1, 2], [2, 'Q4_0', 32, 18], [3, 'Q4_1', 32, 20], [6, 'Q5_0', 32, 22], [7, 'Q5_1', 32, 24], [8, 'Q8_0', 32, 34],
    [10, 'Q2_K', 256, 84], [11, 'Q3_K', 256, 110], [12, 'Q4_K', 256, 144], [13, 'Q5_K', 256, 176], [14, 'Q6_K', 256, 210],
    [16, 'IQ2_XXS', 256, 66], [20, 'IQ4_NL', 32, 18], [23, 'IQ4_XS', 256, 136]
  ]
  for (const [type, name, values, bytes] of sizes) {
    const { tensors } = await read(writeGguf(quantised(type, [2 * values, 3], 6 * bytes)))
    t.match(tensors.get('a'), { type: name, shape: [3, 2 * values], byteLength: 6 * bytes })
    await t.rejects(read(writeGguf(quantised(type, [2 * values, 3], 6 * bytes - 1))), { message: /are not within the file's/ }, name)
    if (values > 1) await t.rejects(read(writeGguf(quantised(type, [values / 2, 2], bytes))), { message: new RegExp(`no whole blocks of ${name}`) })
  }
})

t.test('an alignment of the file\'s own is kept', async t => {
  const { alignment, dataOffset, tensors } = await read(writeGguf({ alignment: 256, tensors: [tensor('a', [1]), tensor('b', [1])] }))
  t.equal(alignment, 256)
  t.equal(dataOffset % 256, 0)
  t.equal(tensors.get('b')?.byteOffset, dataOffset + 256)
})

t.test('token bytes that are no UTF-8 are replaced, names refused', async t => {
  const half = Buffer.from('ß').subarray(0, 1)
  const { metadata } = await read(writeGguf({ metadata: [['tokens', texts([half, Uint8Array.of(0xff, 0x41)])]] }))
  t.strictSame(metadata.get('tokens'), ['\ufffd', '\ufffdA'])
  const file = writeGguf({ metadata: [['kk', u32(1)]], tensors: [tensor('nn', [1])] })
  for (const name of ['kk', 'nn']) {
    const broken = file.slice()
    broken[Buffer.from(file).indexOf(name)] = 0xff
    await t.rejects(read(broken), { code: 'ENGINE_INVALID_CHECKPOINT', message: /is not UTF-8/ })
  }
})

t.test('a vocabulary larger than the buffer is read across its seams', async t => {
  // More than a piece of 1 MiB of strings, then as much of numbers, then a string larger than a piece.
  const tokens = Array.from({ length: 120_000 }, (_, i) => `t${i % 997}`)
  const scores = tokens.map((_, i) => -i)
  const long = 'x'.repeat(3_000_000)
  const { metadata } = await read(writeGguf({ metadata: [['tokens', texts(tokens)], ['scores', numbers('f32', scores)], ['long', text(long)], ['last', u32(7)]] }))
  const found = metadata.get('tokens')
  t.ok(Array.isArray(found) && found.length === tokens.length && found.every((token, i) => token === tokens[i]))
  const foundScores = metadata.get('scores')
  t.ok(foundScores instanceof Float32Array && foundScores.every((score, i) => score === -i || i === 0))
  t.equal(metadata.get('long'), long)
  t.equal(metadata.get('last'), 7)
})

t.test('what no file could mean is refused, with its position and reason', async t => {
  const one = tensor('a', [4])
  const cases: ReadonlyArray<readonly [WrittenGguf, RegExp]> = [
    [{ version: 1 }, /at byte 4: is GGUF version 1/],
    [{ version: 4 }, /version 4; 2 and 3 are supported/],
    [{ version: 0 }, /version 0/],
    [{ version: 0x03000000 }, /big-endian/],
    [{ metadata: [['a', u32(1)], ['a', u32(2)]] }, /metadata "a" is there twice/],
    [{ metadata: [['', u32(1)]] }, /metadata key 0 has 0 bytes/],
    [{ metadata: [['a', u64(2n ** 53n)]] }, /metadata "a" is 9007199254740992, which is too large/],
    [{ metadata: [['a', { type: 'i64', value: -(2n ** 63n) }]] }, /too large to count/],
    [{ metadata: [['a', { type: 'array', of: 'u64', values: [u64(2n ** 64n - 1n)] }]] }, /too large to count/],
    [{ metadata: [['general.alignment', u32(0)]] }, /general.alignment is 0/],
    [{ metadata: [['general.alignment', u32(24)]] }, /general.alignment is 24/],
    [{ metadata: [['general.alignment', f32(0.5)]] }, /general.alignment is 0.5/],
    [{ metadata: [['general.alignment', text('32')]] }, /general.alignment is 32; expected a power/],
    [{ tensors: [one, one] }, /tensor "a": at byte \d+: is there twice/],
    [{ tensors: [tensor('', [4])] }, /the name of tensor 0 has 0 bytes/],
    [{ tensors: [tensor('a', [1, 1, 1, 1, 1])] }, /5 dimensions; at most 4/],
    [{ tensors: [tensor('a', [32], { type: 9 })] }, /type Q8_1 is not supported; supported: F32, F16/],
    [{ tensors: [tensor('a', [32], { type: 24 })] }, /type I8 is not supported/],
    [{ tensors: [tensor('a', [32], { type: 77 })] }, /type 77 is not supported/],
    [{ tensors: [tensor('a', [4], { offset: 8 })] }, /no multiple of 32/],
    [{ tensors: [tensor('a', [4], { offset: 2n ** 60n })] }, /offset of "a" is 1152921504606846976/],
    [{ tensors: [tensor('a', [4], { offset: 2 ** 52 })] }, /are not within the file's/],
    [{ tensors: [tensor('a', [2n ** 40n, 2n ** 40n], { bytes: new Uint8Array(4) })] }, /too many values to count/],
    [{ tensors: [tensor('a', [2n ** 32n, 2n ** 32n, 0n], { bytes: new Uint8Array(4) })] }, /too many values to count/],
    [{ tensors: [tensor('a', [2n ** 51n], { bytes: new Uint8Array(4) })] }, /are not within|too many values/],
    [{ tensors: [tensor('a', [2n ** 63n], { bytes: new Uint8Array(4) })] }, /dimension 0 of "a"/],
    [{ tensors: [tensor('a', [16]), tensor('b', [4], { offset: 32 })] }, /tensor "b": at byte \d+: overlaps the tensor before it by 32 bytes/],
    [{ tensors: [tensor('a', [4]), tensor('b', [4], { offset: 0 })] }, /overlaps the tensor before it by 16 bytes/]
  ]
  for (const [file, message] of cases) {
    await t.rejects(read(writeGguf(file)), { code: 'ENGINE_INVALID_CHECKPOINT', message }, String(message))
  }
  await t.rejects(read(Buffer.from('GGML\x03\0\0\0')), { message: /begins with "GGML"/ })
})

t.test('counts and lengths are believed only as far as the file reaches', async t => {
  const file = writeGguf({ metadata: [['list', texts(['abc', 'def'])], ['text', text('abc')], ['numbers', numbers('f32', [1, 2])]] })
  const at = (bytes: string): number => Buffer.from(file).indexOf(bytes, 24)
  const list = at('list') + 4
  const changed = (position: number, value: bigint): Uint8Array => {
    const copy = file.slice()
    new DataView(copy.buffer).setBigUint64(position, value, true)
    return copy
  }
  for (const huge of [2n ** 20n, 2n ** 32n, 2n ** 52n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    const cases: ReadonlyArray<readonly [string, number]> = [
      ['tensors', 8], ['metadata', 16], ['key', 24], ['strings', list + 8], ['string', list + 16],
      ['text', at('text') + 8], ['numbers', at('numbers') + 15]
    ]
    for (const [what, position] of cases) {
      await t.rejects(read(changed(position, huge)), { code: 'ENGINE_INVALID_CHECKPOINT', message: /at byte \d+:/ }, `${huge} ${what}`)
    }
  }
  t.equal((await read(file)).metadata.size, 3)
})

t.test('values of no known type are refused', async t => {
  const file = writeGguf({ metadata: [['flag', bool(true)], ['list', numbers('u8', [1])]] })
  const flag = Buffer.from(file).indexOf('flag') + 4
  const list = Buffer.from(file).indexOf('list') + 4
  const withByte = (position: number, value: number): Uint8Array => {
    const copy = file.slice()
    copy[position] = value
    return copy
  }
  await t.rejects(read(withByte(flag, 13)), { message: /metadata "flag" has the unknown type 13/ })
  await t.rejects(read(withByte(flag + 4, 2)), { message: /metadata "flag" is 2, which is no boolean/ })
  await t.rejects(read(withByte(list + 4, 9)), { message: /metadata "list" is an array of arrays/ })
  await t.rejects(read(withByte(list + 4, 99)), { message: /array of the unknown type 99/ })
  const flags = withByte(list + 4, 7)
  t.strictSame((await read(flags)).metadata.get('list'), Uint8Array.of(1))
  flags[list + 16] = 2
  await t.rejects(read(flags), { message: /neither 0 nor 1/ })
})
