import { readlink, readdir, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { decoderTensors } from '../../../packages/engine/src/models/decoder-tensors.ts'
import { listTensors } from '../../../packages/engine/src/models/tensor-list.ts'
import { checkTensors } from '../../../packages/engine/src/weights/check-tensors.ts'
import { Checkpoint } from '../../../packages/engine/src/weights/checkpoint.ts'
import type { CheckpointTensor } from '../../../packages/engine/src/weights/checkpoint.ts'
import { plainTensor } from '../../../packages/engine/src/weights/plain-tensor.ts'
import { writeSafetensors } from './write-safetensors.ts'
import type { WrittenTensor } from './write-safetensors.ts'

const counting = (length: number, start = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => start + i)
const a: WrittenTensor = { dtype: 'F16', shape: [3, 2], bytes: counting(12) }
const b: WrittenTensor = { dtype: 'F32', shape: [4], bytes: counting(16, 100) }
const shard1 = 'model-00001-of-00002.safetensors'
const shard2 = 'model-00002-of-00002.safetensors'

const file = (tensors: Readonly<Record<string, WrittenTensor>>): Buffer => Buffer.from(writeSafetensors(tensors))
const index = (weightMap: unknown): Buffer => Buffer.from(JSON.stringify({ metadata: { total_size: 28 }, weight_map: weightMap }))
const INDEX = 'model.safetensors.index.json'

function tensorOf (checkpoint: Checkpoint, name: string): CheckpointTensor {
  const tensor = checkpoint.tensors.get(name)
  if (tensor === undefined) throw new Error(`there is no tensor ${name}`)
  return tensor
}

t.test('a single file gives its tensors, whole or in part', async t => {
  // Old writers do not pad the header, so that data may begin at any byte.
  const directory = t.testdir({ 'model.safetensors': Buffer.from(writeSafetensors({ a, b }, { headerMultiple: 1, metadata: { format: 'p' } })) })
  await using checkpoint = await Checkpoint.open(directory)
  t.strictSame([...checkpoint.tensors.keys()], ['a', 'b'])
  const tensor = tensorOf(checkpoint, 'b')
  t.strictSame([tensor.dtype, tensor.shape, tensor.byteLength], ['F32', [4], 16])
  const into = new Uint8Array(20).fill(9)
  await tensor.read(into, 0, 16)
  t.strictSame(into, Uint8Array.of(...counting(16, 100), 9, 9, 9, 9))
  await tensor.read(into, 15, 1)
  t.equal(into[0], 115)
  await tensor.read(into, 16, 0)
  t.equal(into[0], 115)
})

t.test('a read that leaves the tensor or the destination is refused before it happens', async t => {
  await using checkpoint = await Checkpoint.open(t.testdir({ 'model.safetensors': file({ a, b }) }))
  const tensor = tensorOf(checkpoint, 'a')
  for (const [offset, length, room] of [[0, 13, 20], [12, 1, 20], [-1, 2, 20], [0, -1, 20], [0.5, 2, 20], [0, 12, 11], [NaN, 1, 20], [0, 2 ** 53, 20]] as const) {
    await t.rejects(tensor.read(new Uint8Array(room), offset, length), RangeError, `${offset} + ${length} into ${room}`)
  }
})

t.test('shards are joined through their index', async t => {
  const directory = t.testdir({ [shard1]: file({ a }), [shard2]: file({ b }), [INDEX]: index({ a: shard1, b: shard2 }) })
  await using checkpoint = await Checkpoint.open(directory)
  const into = new Uint8Array(16)
  await tensorOf(checkpoint, 'b').read(into, 0, 16)
  t.strictSame(into, b.bytes)
  await tensorOf(checkpoint, 'a').read(into, 0, 12)
  t.strictSame(into.subarray(0, 12), a.bytes)
})

t.test('an index that its shards contradict is refused, naming the tensor', async t => {
  const files = { [shard1]: file({ a }), [shard2]: file({ b }) }
  const cases: ReadonlyArray<readonly [object, RegExp]> = [
    [{ a: shard1, b: shard1 }, /"b": the index puts it here, and it is not/],
    [{ a: shard1, b: shard2, c: shard2 }, /"c": the index puts it here, and it is not/],
    [{ a: shard2, b: shard2 }, /"a": the index puts it here, and it is not/],
    [{ b: shard2, c: shard1 }, /"a": the index puts it in no file/],
    [{ a: shard1, b: 'model-00003-of-00003.safetensors' }, /model-00003-of-00003.safetensors: cannot be opened/],
    [{}, /names 0 files/]
  ]
  for (const [weightMap, message] of cases) {
    const directory = t.testdir({ ...files, [INDEX]: index(weightMap) })
    await t.rejects(Checkpoint.open(directory), { code: 'ENGINE_INVALID_CHECKPOINT', message }, JSON.stringify(weightMap))
  }
  const twice = t.testdir({ [shard1]: file({ a, b }), [shard2]: file({ b }), [INDEX]: index({ a: shard1, b: shard2 }) })
  await t.rejects(Checkpoint.open(twice), { message: /"b": the index puts it in model-00002/ })
})

t.test('an index cannot name files outside its directory', async t => {
  for (const name of ['../secret.safetensors', '/etc/x.safetensors', 'sub/x.safetensors', '..\\x.safetensors', 'C:x.safetensors', '.safetensors', 'x\0.safetensors', 'x.bin', '', 7, null]) {
    const directory = t.testdir({ 'secret.safetensors': file({ a }), model: { [INDEX]: index({ a: name }) } })
    await t.rejects(Checkpoint.open(join(directory, 'model')), { code: 'ENGINE_INVALID_CHECKPOINT', message: /is not the name of a .safetensors file/ }, JSON.stringify(name))
  }
})

t.test('a directory without readable weights says what it looked for', async t => {
  const directory = t.testdir({
    empty: {},
    pickled: { 'pytorch_model.bin': 'x' },
    folder: { 'model.safetensors': {} },
    text: { [INDEX]: 'weights' },
    list: { [INDEX]: '[]' }
  })
  await t.rejects(Checkpoint.open(join(directory, 'empty')), { message: /neither model.safetensors nor model.safetensors.index.json$/ })
  await t.rejects(Checkpoint.open(join(directory, 'pickled')), { message: /convert it to safetensors/ })
  await t.rejects(Checkpoint.open(join(directory, 'folder')), { code: 'ENGINE_INVALID_CHECKPOINT' })
  await t.rejects(Checkpoint.open(join(directory, 'text')), { message: /is not JSON/ })
  await t.rejects(Checkpoint.open(join(directory, 'list')), { message: /has no weight_map/ })
  await t.rejects(Checkpoint.open(join(directory, 'nowhere')), { code: 'ENGINE_INVALID_CHECKPOINT' })
})

t.test('a file that shrinks after it was opened fails its reads instead of hanging them', async t => {
  const directory = t.testdir({ 'model.safetensors': file({ a, b }) })
  await using checkpoint = await Checkpoint.open(directory)
  await truncate(join(directory, 'model.safetensors'), 100)
  await t.rejects(tensorOf(checkpoint, 'b').read(new Uint8Array(16), 0, 16), { code: 'ENGINE_INVALID_CHECKPOINT', message: /ends at byte/ })
})

t.test('no file stays open after disposal, nor after a failed opening', { skip: process.platform !== 'linux' && 'reads /proc' }, async t => {
  const directory = t.testdir({ [shard1]: file({ a }), [shard2]: file({ b }), [INDEX]: index({ a: shard1, b: shard2 }) })
  const openFiles = async (): Promise<number> => {
    const handles = await readdir('/proc/self/fd')
    const targets = await Promise.all(handles.map(handle => readlink(join('/proc/self/fd', handle)).catch(() => '')))
    return targets.filter(target => target.startsWith(directory)).length
  }
  const checkpoint = await Checkpoint.open(directory)
  t.equal(await openFiles(), 2)
  await checkpoint[Symbol.asyncDispose]()
  t.equal(await openFiles(), 0)
  await truncate(join(directory, shard2), 20)
  await t.rejects(Checkpoint.open(directory))
  t.equal(await openFiles(), 0)
})

t.test('a checkpoint is checked against the model it must hold', async t => {
  const mini = namedShape('daybreak-mini')
  const config = { ...mini, hiddenSize: 4, intermediateSize: 6, layers: mini.layers.slice(0, 1), numHeads: 2, numKVHeads: 1, headDim: 2, vocabSize: 5 }
  const zeros = (shape: readonly number[]): WrittenTensor => ({ dtype: 'F16', shape, bytes: new Uint8Array(2 * shape.reduce((size, n) => size * n, 1)) })
  const complete = Object.fromEntries(listTensors(decoderTensors(config)).map(({ name, shape }) => [name, zeros(shape)]))
  const check = async (files: Readonly<Record<string, WrittenTensor>>, model = config): Promise<void> => {
    await using checkpoint = await Checkpoint.open(t.testdir({ 'model.safetensors': file(files) }))
    const tensors = new Map([...checkpoint.tensors].map(([name, tensor]) => [name, plainTensor(tensor)]))
    checkTensors({ name: checkpoint.directory, tensors }, model)
  }
  await t.resolves(check(complete))
  await t.resolves(check({ ...complete, 'lm_head.weight': zeros([5, 4]), 'model.layers.0.self_attn.rotary_emb.inv_freq': zeros([1]) }))
  const { 'model.layers.0.mlp.up_proj.weight': _, ...incomplete } = complete
  await t.rejects(check(incomplete), { message: /"model.layers.0.mlp.up_proj.weight": is missing/ })
  await t.rejects(check(complete, { ...config, tieWordEmbeddings: false }), { message: /"lm_head.weight": is missing/ })
  await t.rejects(check({ ...complete, 'model.norm.weight': zeros([5]) }), { message: /"model.norm.weight": has shape \[5\]; the model's configuration asks for \[4\]/ })
  await t.rejects(check({ ...complete, 'model.norm.weight': zeros([4, 1]) }), { message: /has shape \[4, 1\]/ })
  await t.rejects(check({ ...complete, 'model.layers.0.self_attn.q_proj.bias': zeros([4]) }), { message: /q_proj.bias": is no part of the model/ })
  await t.rejects(check({ ...complete, 'model.layers.1.input_layernorm.weight': zeros([4]) }), { message: /layers.1.*is no part of the model/ })
})
