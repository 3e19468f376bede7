import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { openGguf } from '../../../../packages/engine/src/weights/gguf/index.ts'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from './converted-model.ts'
import { u32, writeGguf } from './write-gguf.ts'
import type { WrittenGguf, WrittenValue } from './write-gguf.ts'

const CONFIG = { architectures: ['Qwen2ForCausalLM'], ...TINY }
const MODEL = huggingFaceModel(CONFIG)
const TENSORS = convertedTensors(MODEL, { architecture: 'qwen2' })
const METADATA = metadataOf('qwen2', CONFIG)

const u16 = (value: number): WrittenValue => ({ type: 'u16', value })
const partName = (number: number, count: number): string => `tiny-${String(number).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.gguf`

/** Parts as llama-gguf-split writes them: the metadata in the first, which here holds no tensors. */
function parts (changes: Readonly<Record<number, Partial<WrittenGguf>>> = {}, numTensors = TENSORS.length): readonly WrittenGguf[] {
  const tensors = [[], TENSORS.slice(0, 11), TENSORS.slice(11)]
  return tensors.map((own, i) => ({
    metadata: [
      ...i === 0 ? METADATA : [],
      ['split.no', u16(i)], ['split.count', u16(3)], ['split.tensors.count', { type: 'i32', value: numTensors }]
    ],
    tensors: own,
    ...changes[i]
  }))
}

function written (t: Test, files: readonly WrittenGguf[]): string {
  const directory = t.testdir()
  for (const [i, file] of files.entries()) writeFileSync(join(directory, partName(i + 1, files.length)), writeGguf(file))
  return directory
}

t.test('a split model is opened from any of its parts', async t => {
  const directory = written(t, parts())
  for (const number of [1, 2, 3]) {
    const model = await openGguf(join(directory, partName(number, 3)))
    t.strictSame(model.config['architectures'], ['Qwen2ForCausalLM'])
    t.equal(model.header.metadata.get('split.no'), 0)
    t.equal(model.tensors.size, MODEL.tensors.size)
    t.equal(model.formats.get('F32')?.tensors, TENSORS.length)
    for (const [name, { values }] of MODEL.tensors) {
      const tensor = model.tensors.get(name)
      const rows = tensor?.shape[0] ?? 0
      const found = new Float32Array(values.length)
      await tensor?.readRowsInto(0, rows, found)
      t.strictSame(found, values, name)
    }
    await model[Symbol.asyncDispose]()
  }
})

t.test('one part of one is a file by itself', async t => {
  const file: WrittenGguf = { metadata: [...METADATA, ['split.no', u16(0)], ['split.count', u16(1)]], tensors: TENSORS }
  const path = join(t.testdir(), 'any-name.gguf')
  writeFileSync(path, writeGguf(file))
  const model = await openGguf(path)
  await model[Symbol.asyncDispose]()
  t.equal(model.tensors.size, MODEL.tensors.size)
})

t.test('parts that do not make a model are refused', async t => {
  const refused = async (files: readonly WrittenGguf[], message: RegExp, change?: (directory: string) => void): Promise<void> => {
    const directory = written(t, files)
    change?.(directory)
    await t.rejects(openGguf(join(directory, partName(1, 3))), { code: 'ENGINE_INVALID_CHECKPOINT', message }, String(message))
  }
  await refused(parts(), /00002-of-00003.gguf: cannot be opened/, directory => { rmSync(join(directory, partName(2, 3))) })
  await refused(parts(), /is part 2 of 3, counted from 0; expected 1 of 3/, directory => {
    renameSync(join(directory, partName(3, 3)), join(directory, partName(2, 3)))
    writeFileSync(join(directory, partName(3, 3)), writeGguf(parts()[2] ?? {}))
  })
  await refused(parts({ 1: { metadata: [] } }), /is part undefined of undefined/)
  await refused(parts({ 2: { tensors: TENSORS.slice(10) } }), /is in tiny-00002-of-00003.gguf as well/)
  await refused(parts({}, TENSORS.length + 1), new RegExp(`hold ${TENSORS.length} tensors; split.tensors.count is ${TENSORS.length + 1}`))
  await refused(parts({ 0: { metadata: [['split.count', u32(1_001)]] } }), /one of 1001 parts; at most 1000/)
  await refused(parts({ 0: { metadata: [['split.count', { type: 'i32', value: -3 }]] } }), /"split.count" is no count/)
  await refused(parts({ 0: { metadata: [['split.count', u16(2)]] } }), /is one of 2 parts; name them …-00001-of-00002.gguf/)
})

t.test('a part under another name says what it should be called', async t => {
  const path = join(t.testdir(), 'renamed.gguf')
  writeFileSync(path, writeGguf(parts()[1] ?? {}))
  await t.rejects(openGguf(path), { code: 'ENGINE_INVALID_CHECKPOINT', message: /is one of 3 parts; name them …-00001-of-00003.gguf and so on, in one directory/ })
})

t.test('what is no file is refused', async t => {
  const directory = t.testdir({ 'empty.gguf': '' })
  await t.rejects(openGguf(directory), { code: 'ENGINE_INVALID_CHECKPOINT' })
  await t.rejects(openGguf(join(directory, 'none.gguf')), { code: 'ENGINE_INVALID_CHECKPOINT', message: /cannot be opened/ })
  await t.rejects(openGguf(join(directory, 'empty.gguf')), { code: 'ENGINE_INVALID_CHECKPOINT', message: /needs 8 bytes; the file ends after 0/ })
})
