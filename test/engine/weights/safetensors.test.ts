import t from 'tap'
import { InvalidCheckpointError } from '../../../packages/engine/src/errors.ts'
import { duplicateKey } from '../../../packages/engine/src/weights/duplicate-key.ts'
import { readSafetensorsHeader } from '../../../packages/engine/src/weights/safetensors.ts'
import type { SafetensorsHeader } from '../../../packages/engine/src/weights/safetensors.ts'
import { memorySource } from './memory-source.ts'
import { randomBelow } from './random-below.ts'
import { assembleSafetensors, writeSafetensors } from './write-safetensors.ts'

const read = (bytes: Uint8Array): Promise<SafetensorsHeader> => readSafetensorsHeader(memorySource(bytes))
const entry = (dtype: unknown, shape: unknown, begin: unknown, end: unknown): string =>
  JSON.stringify({ dtype, shape, data_offsets: [begin, end] })

t.test('tensors of every dtype and rank are found where they lie', async t => {
  const file = writeSafetensors({
    scalar: { dtype: 'F32', shape: [], bytes: new Uint8Array(4) },
    vector: { dtype: 'F16', shape: [5], bytes: new Uint8Array(10) },
    matrix: { dtype: 'BF16', shape: [3, 7], bytes: new Uint8Array(42) },
    empty: { dtype: 'F32', shape: [0, 4], bytes: new Uint8Array(0) },
    deep: { dtype: 'F32', shape: [1, 2, 1, 2], bytes: new Uint8Array(16) },
    words: { dtype: 'I32', shape: [3], bytes: new Uint8Array(12) },
    longs: { dtype: 'I64', shape: [2], bytes: new Uint8Array(16) },
    codes: { dtype: 'I8', shape: [3], bytes: new Uint8Array(3) },
    bytes: { dtype: 'U8', shape: [1], bytes: new Uint8Array(1) }
  }, { metadata: { format: 'pt' } })
  const { tensors, metadata } = await read(file)
  const data = file.byteLength - 104
  t.strictSame([...tensors.values()].map(({ name, dtype, shape, byteOffset, byteLength }) => [name, dtype, shape, byteOffset - data, byteLength]), [
    ['scalar', 'F32', [], 0, 4],
    ['vector', 'F16', [5], 4, 10],
    ['matrix', 'BF16', [3, 7], 14, 42],
    ['empty', 'F32', [0, 4], 56, 0],
    ['deep', 'F32', [1, 2, 1, 2], 56, 16],
    ['words', 'I32', [3], 72, 12],
    ['longs', 'I64', [2], 84, 16],
    ['codes', 'I8', [3], 100, 3],
    ['bytes', 'U8', [1], 103, 1]
  ])
  t.strictSame([...metadata], [['format', 'pt']])
})

t.test('the order of the header need not be the order of the data', async t => {
  const { tensors } = await read(assembleSafetensors(`{"b":${entry('F16', [2], 4, 8)},"a":${entry('F16', [2], 0, 4)}}`, [new Uint8Array(8)]))
  t.equal(tensors.size, 2)
})

t.test('a file without tensors is valid', async t => {
  t.equal((await read(assembleSafetensors('{}', []))).tensors.size, 0)
})

t.test('what does not describe its data exactly is refused, with the reason', async t => {
  const data = [new Uint8Array(16)]
  const whole = entry('F32', [4], 0, 16)
  const cases: ReadonlyArray<readonly [string, RegExp]> = [
    [`{"a":${entry('F64', [2], 0, 16)}}`, /tensor "a": dtype "F64" is not supported; F32, F16, BF16, I8, U8, I32, I64 are/],
    [`{"a":${entry('F8_E4M3', [16], 0, 16)}}`, /"F8_E4M3" is not supported/],
    [`{"a":${entry('F8_E5M2', [16], 0, 16)}}`, /"F8_E5M2" is not supported/],
    [`{"a":${entry('toString', [16], 0, 16)}}`, /"toString" is not supported/],
    [`{"a":${entry(['F32'], [4], 0, 16)}}`, /dtype \["F32"\]/],
    [`{"a":${entry('I64', [3], 0, 16)}}`, /takes 24 bytes; the file gives it 16/],
    [`{"a":${entry('I8', [15], 0, 16)}}`, /takes 15 bytes/],
    [`{"a":${entry(undefined, [4], 0, 16)}}`, /dtype undefined/],
    [`{"a":${entry('F32', [4], 0, 20)}}`, /0 to 20 are not within the file's 16/],
    [`{"a":${entry('F32', [4], 16, 0)}}`, /16 to 0/],
    [`{"a":${entry('F32', [4], -4, 12)}}`, /data_offsets/],
    [`{"a":${entry('F32', [4], 0.5, 16)}}`, /data_offsets/],
    [`{"a":${entry('F32', [4], 0, '16')}}`, /data_offsets/],
    ['{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16,16]}}', /data_offsets/],
    ['{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1e400]}}', /data_offsets/],
    [`{"a":${entry('F32', [3], 0, 16)}}`, /takes 12 bytes; the file gives it 16/],
    [`{"a":${entry('F32', [5], 0, 16)}}`, /takes 20 bytes/],
    [`{"a":${entry('F32', [-4], 0, 16)}}`, /shape/],
    [`{"a":${entry('F32', [4.5], 0, 16)}}`, /shape/],
    [`{"a":${entry('F32', 4, 0, 16)}}`, /shape/],
    [`{"a":${entry('F32', [4, 1, 1, 1, 1, 1, 1, 1, 1], 0, 16)}}`, /at most 8 sizes/],
    // 2^64 + 4 values wrap to 4 in 64-bit arithmetic.
    [`{"a":${entry('F32', [2 ** 32, 2 ** 32], 0, 16)}}`, /too many values/],
    [`{"a":${entry('F32', [2 ** 53 - 1, 2 ** 53 - 1, 0], 0, 0)}}`, /too many values/],
    [`{"a":${entry('F32', [2], 0, 8)},"b":${entry('F32', [3], 4, 16)}}`, /"b": overlaps the tensor before it by 4 bytes/],
    [`{"a":${whole},"b":${whole}}`, /overlaps the tensor before it by 16 bytes/],
    [`{"a":${entry('F32', [1], 0, 4)},"b":${entry('F32', [2], 8, 16)}}`, /"b": leaves 4 bytes before it/],
    [`{"a":${entry('F32', [3], 0, 12)}}`, /last 4 bytes belong to no tensor/],
    [`{"a":${entry('F32', [3], 4, 16)}}`, /leaves 4 bytes/],
    [`{"a":${whole},"a":${whole}}`, /names "a" twice/],
    [`{"a":${whole},"\\u0061":${whole}}`, /names "a" twice/],
    ['{"a":{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}}', /names "shape" twice/],
    [`{"__metadata__":{"x":1},"a":${whole}}`, /metadata "x" is not text/],
    [`{"__metadata__":7,"a":${whole}}`, /not an object/],
    ['{"a":null}', /not an object/],
    [`[${whole}]`, /does not begin with/],
    [` {"a":${whole}}`, /does not begin with/],
    [`{"a":${whole}`, /not JSON/],
    [`{"a":${whole}}}`, /not JSON/]
  ]
  for (const [header, message] of cases) {
    await t.rejects(read(assembleSafetensors(header, data)), { code: 'ENGINE_INVALID_CHECKPOINT', message }, header)
  }
})

t.test('a header length is believed only as far as the file and the format allow', async t => {
  const file = writeSafetensors({ a: { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) } })
  const withLength = (length: bigint): Uint8Array => {
    const copy = file.slice()
    new DataView(copy.buffer).setBigUint64(0, length, true)
    return copy
  }
  await t.rejects(read(withLength(BigInt(file.byteLength - 7))), { message: /header of \d+ bytes in a file of/ })
  await t.rejects(read(withLength(100_000_000n)), { message: /in a file of/ })
  await t.rejects(read(withLength(100_000_001n)), { message: /at most 100000000 are allowed/ })
  await t.rejects(read(withLength(2n ** 64n - 1n)), { message: /at most 100000000 are allowed/ })
  await t.rejects(read(withLength(0n)), { code: 'ENGINE_INVALID_CHECKPOINT' })
  for (let length = 0; length < file.byteLength; length++) {
    await t.rejects(read(file.slice(0, length)), { code: 'ENGINE_INVALID_CHECKPOINT' }, `${length} of ${file.byteLength} bytes`)
  }
  t.equal((await read(file)).tensors.size, 1)
})

t.test('invalid UTF-8 in a name is refused rather than replaced', async t => {
  const file = assembleSafetensors(`{"aa":${entry('F32', [4], 0, 16)}}`, [new Uint8Array(16)])
  file[10] = 0xff
  await t.rejects(read(file), { message: /not JSON/ })
})

t.test('a key is a duplicate only within its own object', async t => {
  t.equal(duplicateKey('{"a":{"a":1},"b":[{"a":1},{"a":2}],"c":"a"}'), undefined)
  t.equal(duplicateKey('{"a":"b","b":"a\\"b"}'), undefined)
  t.equal(duplicateKey('{"x":{"a" : 1, "b":"{", "a"\n: 2}}'), 'a')
  t.equal(duplicateKey('{"\\\\":1,"\\u005c":2}'), '\\')
  t.equal(duplicateKey('["a","a"]'), undefined)
})

t.test('every flip of one bit is refused or changes nothing that leaves the file', async t => {
  const file = writeSafetensors({ a: { dtype: 'F16', shape: [2, 3], bytes: new Uint8Array(12) }, b: { dtype: 'I32', shape: [1], bytes: new Uint8Array(4) } })
  const dataBytes = 16
  let numRefused = 0
  for (let bit = 0; bit < (file.byteLength - dataBytes) * 8; bit++) {
    const damaged = file.slice()
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ 1 << (bit & 7)
    const source = memorySource(damaged)
    const found = await readSafetensorsHeader(source).catch((error: unknown) => error)
    if (found instanceof InvalidCheckpointError) numRefused++
    else if (found instanceof Error) t.fail(`bit ${bit}: ${String(found)}`)
    else if (source.outOfRange > 0) t.fail(`bit ${bit}: read past the end of the file`)
  }
  t.ok(numRefused > 600, `${numRefused} refused`)
})

t.test('hostile headers are refused with a typed error, in time that grows with their length', async t => {
  const deep = (open: string, close: string, count: number): string => open.repeat(count) + close.repeat(count)
  const whole = entry('F32', [4], 0, 16)
  const cases: Readonly<Record<string, string>> = {
    'arrays in arrays': `{"a":${deep('[', ']', 200_000)}}`,
    'arrays in a shape': `{"a":{"dtype":"F32","shape":${deep('[', ']', 200_000)},"data_offsets":[0,16]}}`,
    'objects in objects': `{"a":${deep('{"a":', '}', 200_000).replace('}', '0}')}}`,
    'arrays that never end': `{"a":${'['.repeat(500_000)}`,
    'objects that never end': '{"a":'.repeat(200_000),
    'a long key': `{"${'k'.repeat(1_000_000)}":7}`,
    'a shape of many sizes': `{"a":{"dtype":"F32","shape":[${'1,'.repeat(200_000)}4],"data_offsets":[0,16]}}`,
    'a number of many digits': `{"a":${entry('F32', [4], 0, 16).replace('[4]', `[${'9'.repeat(500_000)}]`)}}`,
    'many tensors in the same place': `{${Array.from({ length: 20_000 }, (_, i) => `"t${i}":${whole}`).join(',')}}`,
    'many keys, the last one twice': `{${Array.from({ length: 20_000 }, (_, i) => `"t${i}":${entry('F32', [0], 0, 0)}`).join(',')},"t19999":${whole}}`,
    'a prototype for a tensor': `{"__proto__":${JSON.stringify({ dtype: 'F64', shape: [2], data_offsets: [0, 16] })}}`,
    'an entry whose fields are its prototype\'s': `{"a":{"__proto__":${whole}}}`
  }
  for (const [name, header] of Object.entries(cases)) {
    await t.rejects(read(assembleSafetensors(header, [new Uint8Array(16)])), { code: 'ENGINE_INVALID_CHECKPOINT' }, name)
  }
})

t.test('a damaged file is either refused with a typed error or read within its bounds', async t => {
  const seed = 20_261_121
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  const file = writeSafetensors({
    embed: { dtype: 'F16', shape: [4, 8], bytes: new Uint8Array(64) },
    norm: { dtype: 'F32', shape: [8], bytes: new Uint8Array(32) },
    head: { dtype: 'BF16', shape: [2, 8], bytes: new Uint8Array(32) }
  }, { metadata: { format: 'pt' } })
  const digits = '0123456789-.eE[]{}",: \\u'
  const outcomes = { read: 0, refused: 0 }
  for (let round = 0; round < 1500; round++) {
    let damaged = file.slice()
    for (let mutations = 1 + below(3); mutations > 0; mutations--) {
      const at = below(damaged.byteLength)
      const kind = below(5)
      if (kind === 0) damaged[at] = below(256)
      else if (kind === 1) damaged[at] = digits.charCodeAt(below(digits.length))
      else if (kind === 2) damaged = damaged.slice(0, at + 1)
      else if (kind === 3) damaged = new Uint8Array(Buffer.concat([damaged, Buffer.alloc(below(16))]))
      else damaged = new Uint8Array(Buffer.concat([damaged.subarray(0, at), damaged.subarray(at, at + below(40)), damaged.subarray(at)]))
    }
    const source = memorySource(damaged)
    try {
      const { tensors } = await readSafetensorsHeader(source)
      outcomes.read++
      for (const { byteOffset, byteLength } of tensors.values()) {
        if (byteOffset + byteLength > damaged.byteLength) t.fail(`round ${round}: a tensor reaches past the file`)
      }
    } catch (error) {
      outcomes.refused++
      if (!(error instanceof InvalidCheckpointError)) t.fail(`round ${round}: ${String(error)}`)
    }
    if (source.outOfRange > 0) t.fail(`round ${round}: read past the end of the file`)
  }
  t.comment(outcomes)
  t.ok(outcomes.refused > 1000 && outcomes.read > 20, 'both outcomes occur')
})
