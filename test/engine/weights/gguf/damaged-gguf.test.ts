import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { InvalidCheckpointError, UnsupportedModelError } from '../../../../packages/engine/src/errors.ts'
import { openGguf } from '../../../../packages/engine/src/weights/gguf/index.ts'
import { readGgufHeader } from '../../../../packages/engine/src/weights/gguf/header.ts'
import type { GgufHeader } from '../../../../packages/engine/src/weights/gguf/header.ts'
import { GgufRowReader } from '../../../../packages/engine/src/weights/gguf/row-reader.ts'
import { rowsOf } from '../../../../packages/engine/src/weights/weight-tensor.ts'
import { memorySource } from '../memory-source.ts'
import { randomBelow } from '../random-below.ts'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from './converted-model.ts'
import { numbers, text, texts, writeGguf } from './write-gguf.ts'

const SMALL = { ...TINY, vocab_size: 4, hidden_size: 8, intermediate_size: 4, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 }
const CONFIG = { architectures: ['MixtralForCausalLM'], ...SMALL, num_local_experts: 2, num_experts_per_tok: 1 }
const GEMMA_CONFIG = { architectures: ['Gemma3ForCausalLM'], ...SMALL, sliding_window: 8, tie_word_embeddings: true }
const EXTRA = [['tokenizer.ggml.tokens', texts(['<s>', 'a', '', 'ß'])], ['tokenizer.ggml.scores', numbers('f32', [0, 1])], ['general.name', text('tiny')]] as const

/** A mixture and a Gemma of one layer each, and one block of every quantised kind beside them. */
const FILES = [
  writeGguf({
    metadata: [...metadataOf('llama', CONFIG), ...EXTRA],
    tensors: convertedTensors(huggingFaceModel(CONFIG), { architecture: 'llama', permutes: true })
  }),
  writeGguf({
    version: 2,
    metadata: [...metadataOf('gemma3', GEMMA_CONFIG), ...EXTRA],
    tensors: [
      ...convertedTensors(huggingFaceModel(GEMMA_CONFIG), { architecture: 'gemma3', addsOne: true }),
      ...[[8, 32, 34], [12, 256, 144], [16, 256, 66]].map(([type = 0, values = 0, bytes = 0]) =>
        ({ name: `block ${type}`, type, dimensions: [values], bytes: new Uint8Array(bytes).fill(0x21) }))
    ]
  })
]

/** Values around every limit a length, count, size or offset could be held against. */
const TELLING = [0n, 1n, 7n, 8n, 31n, 32n, 255n, 256n, 2n ** 16n, 2n ** 20n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 52n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]

/** Where 8 bytes of the file hold a small number: lengths, counts, dimensions and offsets, and what merely looks like them. */
function fieldsOf (file: Uint8Array): readonly number[] {
  const view = new DataView(file.buffer)
  return Array.from({ length: file.byteLength - 8 }, (_, i) => i).filter(i => {
    const value = view.getBigUint64(i, true)
    return value > 0n && value < 4096n
  })
}

function damaged (file: Uint8Array, fields: readonly number[], below: (limit: number) => number): Uint8Array {
  let copy = file.slice()
  for (let mutations = 1 + below(3); mutations > 0; mutations--) {
    const kind = below(6)
    // Most of the damage is done to the header: weights may be anything.
    const at = below(Math.min(copy.byteLength, 4096))
    const field = fields[below(fields.length)] ?? 0
    const telling = TELLING[below(TELLING.length)] ?? 0n
    const view = new DataView(copy.buffer)
    if (kind === 0) copy[at] = below(256)
    else if (kind === 1) copy[at] = (copy[at] ?? 0) ^ 1 << below(8)
    else if (kind === 2 && field + 8 <= copy.byteLength) view.setBigUint64(field, telling, true)
    else if (kind === 3 && field + 4 <= copy.byteLength) view.setUint32(field, Number(telling & 0xffffffffn), true)
    else if (kind === 4 && below(4) === 0) copy = copy.slice(0, at + 1)
    else if (kind === 5) copy = new Uint8Array(Buffer.concat([copy.subarray(0, at), copy.subarray(at, at + below(40)), copy.subarray(at)]))
  }
  return copy
}

/** Reads a header while nothing larger than the file is asked for, and checks what came of it. */
async function readWithin (bytes: Uint8Array): Promise<GgufHeader> {
  const source = memorySource(bytes)
  const header = await readGgufHeader({
    name: source.name,
    byteLength: source.byteLength,
    async read (into, position) {
      if (into.buffer.byteLength > Math.max(bytes.byteLength, 1 << 20)) throw new Error(`${into.buffer.byteLength} bytes were allocated for a file of ${bytes.byteLength}`)
      await source.read(into, position)
      if (source.outOfRange > 0) throw new Error('read past the end of the file')
    }
  })
  for (const { name, byteOffset, byteLength } of header.tensors.values()) {
    if (byteOffset < header.dataOffset || byteOffset + byteLength > bytes.byteLength) throw new Error(`tensor ${name} reaches past the file`)
  }
  for (const value of header.metadata.values()) {
    if (ArrayBuffer.isView(value) && value.byteLength > bytes.byteLength) throw new Error('an array is larger than the file')
  }
  return header
}

t.test('every truncation is refused', async t => {
  const file = writeGguf({
    metadata: EXTRA,
    tensors: [{ name: 'a', type: 0, dimensions: [3], bytes: new Uint8Array(12) }, { name: 'b', type: 8, dimensions: [32, 2], bytes: new Uint8Array(68) }]
  })
  t.equal((await readWithin(file)).tensors.size, 2)
  const wrong: string[] = []
  for (let length = 0; length < file.byteLength; length++) {
    const outcome = await readWithin(file.slice(0, length)).then(() => 'read', (error: unknown) => error instanceof InvalidCheckpointError ? 'refused' : String(error))
    if (outcome !== 'refused') wrong.push(`${length}: ${outcome}`)
  }
  t.strictSame(wrong, [])
})

t.test('a damaged header is refused with a typed error, or describes data within the file', async t => {
  const seed = 20_261_124
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  const outcomes = { read: 0, refused: 0 }
  for (const file of FILES) {
    const fields = fieldsOf(file)
    for (let round = 0; round < 1_500; round++) {
      const bytes = damaged(file, fields, below)
      try {
        const header = await readWithin(bytes)
        outcomes.read++
        // Whatever the tensors have become, their ends can be read.
        const reader = new GgufRowReader(memorySource(bytes))
        for (const entry of header.tensors.values()) {
          const tensor = reader.tensor(entry, entry.name)
          const { numRows, rowLength } = rowsOf(tensor)
          if (numRows > 0 && rowLength <= 1 << 16) await tensor.readRowsInto(numRows - 1, 1, new Float32Array(rowLength))
        }
      } catch (error) {
        outcomes.refused++
        if (!(error instanceof InvalidCheckpointError)) t.fail(`round ${round}: ${String(error)}`)
      }
    }
  }
  t.comment(outcomes)
  t.ok(outcomes.refused > 500 && outcomes.read > 300, 'both outcomes occur')
})

t.test('a damaged model is refused with a typed error, or its tensors can be read', async t => {
  const seed = 20_261_125
  t.comment(`seed ${seed}`)
  const below = randomBelow(seed)
  const path = join(t.testdir(), 'damaged.gguf')
  const outcomes = { read: 0, refused: 0 }
  for (const file of FILES) {
    const fields = fieldsOf(file)
    for (let round = 0; round < 400; round++) {
      writeFileSync(path, damaged(file, fields, below))
      try {
        const model = await openGguf(path)
        try {
          outcomes.read++
          for (const tensor of model.tensors.values()) {
            const { numRows, rowLength } = rowsOf(tensor)
            if (numRows > 0 && rowLength <= 1 << 16) await tensor.readRowsInto(numRows - 1, 1, new Float32Array(rowLength))
          }
        } finally {
          await model[Symbol.asyncDispose]()
        }
      } catch (error) {
        outcomes.refused++
        if (!(error instanceof InvalidCheckpointError || error instanceof UnsupportedModelError)) t.fail(`round ${round}: ${String(error)}`)
      }
    }
  }
  t.comment(outcomes)
  t.ok(outcomes.refused > 150 && outcomes.read > 100, 'both outcomes occur')
})
