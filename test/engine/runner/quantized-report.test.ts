import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { decoderTensors } from '../../../packages/engine/src/models/decoder-tensors.ts'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { listTensors } from '../../../packages/engine/src/models/tensor-list.ts'
import { writeSafetensors } from '../weights/write-safetensors.ts'
import type { WrittenTensor } from '../weights/write-safetensors.ts'
import { engineTest, modelFolder, openForTest } from './engine-under-test.ts'

/** The tiny Llama, all zeros, its projections int8 per output, as compressed-tensors writes one that wants its inputs quantised as well. */
function writeModel (directory: string): void {
  const quantization = {
    quant_method: 'compressed-tensors',
    format: 'int-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 8, type: 'int', symmetric: true, strategy: 'channel' }, input_activations: { num_bits: 8, type: 'int', dynamic: true } } }
  }
  const config: object = { ...JSON.parse(readFileSync(join(modelFolder('tiny-llama'), 'config.json'), 'utf8')), quantization_config: quantization }
  const tensors: Record<string, WrittenTensor> = {}
  for (const { name, shape } of listTensors(decoderTensors(parseModelConfig(config)))) {
    const count = shape.reduce((product, size) => product * size, 1)
    const isQuantized = /_proj\.weight$/.test(name)
    tensors[name] = { dtype: isQuantized ? 'I8' : 'F16', shape, bytes: new Uint8Array(isQuantized ? count : 2 * count) }
    if (isQuantized) tensors[`${name}_scale`] = { dtype: 'F16', shape: [shape[0] ?? 0, 1], bytes: new Uint8Array(2 * (shape[0] ?? 0)) }
  }
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config))
  writeFileSync(join(directory, 'model.safetensors'), writeSafetensors(tensors))
}

const directory = mkdtempSync(join(tmpdir(), 'daybreak-quantized-'))
t.teardown(() => { rmSync(directory, { recursive: true }) })
writeModel(directory)
const engine = await openForTest('tiny-llama', { model: { type: 'directory', path: directory } })

engineTest('the report says what the files stored, and what they ask for and do not get', engine, async (t, { report }) => {
  t.strictSame(report.notes, ['the quantisation of input_activations that the checkpoint asks for is not applied'])
  t.match(report.weightFormats.map(({ format }) => format).sort(), ['F16', 'compressed-tensors int8'])
})
