import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { convertedTensors, huggingFaceModel, metadataOf, TINY } from '../engine/weights/gguf/converted-model.ts'
import { numbers, text, texts, writeGguf } from '../engine/weights/gguf/write-gguf.ts'
import type { WrittenValue } from '../engine/weights/gguf/write-gguf.ts'
import { writeSafetensors } from '../engine/weights/write-safetensors.ts'
import type { WrittenTensor } from '../engine/weights/write-safetensors.ts'
import { writeFamilyModel } from '../fixtures/families/read-family.ts'

const embedded = join(import.meta.dirname, '../../models/daybreak-mini')
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json']

/** A family's small model with the embedded model's text files: a directory as `--model` takes it. */
export async function writeServableFamily (family: string, folder: string): Promise<void> {
  writeFamilyModel(family, folder)
  for (const file of TEXT_FILES) await copyFile(join(embedded, file), join(folder, file))
}

/** A repository of a model in two shards of 2 MiB and more, with the embedded model's text files. */
export async function largeRepoFiles (headerMultiple?: number): Promise<Readonly<Record<string, Uint8Array>>> {
  const { config, tensors } = huggingFaceModel({ architectures: ['LlamaForCausalLM'], ...TINY, vocab_size: 32_768 })
  const written = [...tensors].map(([name, { shape, values }]): [string, WrittenTensor] => [name, { dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) }])
  const isLate = ([name]: readonly [string, unknown]): boolean => name === 'lm_head.weight'
  const shard = (tensors: typeof written): Uint8Array => writeSafetensors(Object.fromEntries(tensors), headerMultiple === undefined ? {} : { headerMultiple })
  const index = { weight_map: Object.fromEntries(written.map(entry => [entry[0], isLate(entry) ? 'model-00002-of-00002.safetensors' : 'model-00001-of-00002.safetensors'])) }
  const texts = await Promise.all(TEXT_FILES.map(async (file): Promise<[string, Uint8Array]> => [file, new Uint8Array(await readFile(join(embedded, file)))]))
  return {
    ...Object.fromEntries(texts),
    'config.json': new Uint8Array(Buffer.from(JSON.stringify(config))),
    'model.safetensors.index.json': new Uint8Array(Buffer.from(JSON.stringify(index))),
    'model-00001-of-00002.safetensors': shard(written.filter(entry => !isLate(entry))),
    'model-00002-of-00002.safetensors': shard(written.filter(isLate))
  }
}

/** A GGUF file of a small model, with letters for a vocabulary; in two parts, the path is the first's. */
export async function writeTinyGguf (folder: string, numParts: 1 | 2): Promise<string> {
  await mkdir(folder, { recursive: true })
  const config = { architectures: ['Qwen2ForCausalLM'], ...TINY }
  const tensors = convertedTensors(huggingFaceModel(config), { architecture: 'qwen2' })
  const letters = Array.from({ length: TINY.vocab_size }, (_, id) => String.fromCharCode(97 + id))
  const metadata: ReadonlyArray<readonly [string, WrittenValue]> = [
    ...metadataOf('qwen2', config),
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('qwen2')],
    ['tokenizer.ggml.tokens', texts(letters)],
    ['tokenizer.ggml.token_type', numbers('i32', letters.map((_, id) => id === TINY.bos_token_id || id === TINY.eos_token_id ? 3 : 1))],
    ['tokenizer.ggml.merges', texts([])]
  ]
  const name = (part: number): string => join(folder, numParts === 1 ? 'tiny.gguf' : `tiny-${String(part).padStart(5, '0')}-of-00002.gguf`)
  for (let part = 1; part <= numParts; part++) {
    const split: ReadonlyArray<readonly [string, WrittenValue]> = numParts === 1 ? [] : [['split.no', { type: 'u16', value: part - 1 }], ['split.count', { type: 'u16', value: 2 }]]
    const half = Math.ceil(tensors.length / numParts)
    await writeFile(name(part), writeGguf({ metadata: [...part === 1 ? metadata : [], ...split], tensors: tensors.slice((part - 1) * half, part * half) }))
  }
  return name(1)
}
