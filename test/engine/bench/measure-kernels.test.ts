import t from 'tap'
import { namedShape, OutOfDeviceMemoryError } from '@daybreak/engine'
import type { KernelBenchPlan, KernelMeasurement, ModelConfig } from '@daybreak/engine'
import type { StepRequest } from '../../../packages/engine/src/bench/bench-model.ts'
import { measureKernels } from '../../../packages/engine/src/bench/measure-kernels.ts'
import type { KernelSubject } from '../../../packages/engine/src/bench/measure-kernels.ts'

const plan: KernelBenchPlan = {
  shape: 'llama-3.2-1b',
  kinds: ['linear', 'attention', 'rowwise', 'sampling'],
  rows: [1, 40],
  contexts: [100],
  batches: [3],
  shared: undefined,
  dtype: 'f16',
  deterministic: false,
  tuningFolder: undefined,
  tune: false,
  onProgress: () => {}
}

interface Measured { readonly kernels: readonly KernelMeasurement[], readonly steps: readonly StepRequest[], readonly timed: readonly number[] }

/** Measures steps of these labels on a model that computes nothing; the two norms before attention and MLP are one pipeline. */
async function measure (shape: ModelConfig, labels: readonly string[], changes: Partial<KernelBenchPlan> = {}, refuses: (request: StepRequest) => boolean = () => false): Promise<Measured> {
  const steps: StepRequest[] = []
  const timed: number[] = []
  const norm = pipeline('rms_norm')
  const subject: KernelSubject = {
    model: {
      limits: { maxBatchedTokens: 100, maxSequences: 4, maxLogitRows: 36, maxModelLen: 100, numKVBlocks: 1000, blockSize: 16, vocabSize: 1000 },
      kvBytes: ({ sequences }) => 1000 * sequences.length,
      async step (request) {
        if (refuses(request)) throw new OutOfDeviceMemoryError({ label: 'kv 0', bytes: 3e9 })
        steps.push(request)
        const logitRows = request.batch.sequences.reduce((sum, { scoreTargets, sampling }) => sum + (scoreTargets?.length ?? 0) + Number(sampling !== undefined), 0)
        return {
          shape: { tokens: 1, singles: 1, splits: 1, splitSubgroups: 1, groups: 0, groupSize: 0, tiles: 0, logitRows, fewKeys: 0 },
          labels: labels.filter(label => label !== 'head' || logitRows > 0),
          units: label => [[{ label, pipeline: label === 'attention_norm' || label === 'mlp_norm' ? norm : pipeline(`${label}_kernel`), bindGroup: nothing, grid: [1, 1, 1] }]],
          [Symbol.dispose]: () => {}
        }
      }
    },
    timer: {
      async time (units) {
        timed.push(units.length)
        return { seconds: 2, minSeconds: 1, maxSeconds: 3 }
      }
    },
    plan: { ...plan, ...changes },
    config: shape,
    layers: shape.layers,
    storage: 'f16',
    activation: 'f16',
    cacheBytes: 8000,
    mostCopies: 5
  }
  return { kernels: await measureKernels(subject), steps, timed }
}

const nothing: GPUBindGroup = { __brand: 'GPUBindGroup', label: '' }

function pipeline (label: string): GPUComputePipeline {
  return { __brand: 'GPUComputePipeline', label, getBindGroupLayout () { throw new Error('nothing is bound') } }
}

const names = (kernels: readonly KernelMeasurement[]): string[] => kernels.map(({ label, rows, context }) => `${label} ${rows}${context === undefined ? '' : ` of ${context}`}`)
const llama = namedShape('llama-3.2-1b')
const labels = ['embedding', 'attention_norm', 'qkv', 'attention_tile', 'output', 'mlp_norm', 'gate_up', 'down', 'final_norm', 'head', 'sample_scan']

t.test('each kind of kernel is taken from the steps that are meant for it', async t => {
  const { kernels, steps } = await measure(llama, labels)
  const byRows = (rows: number): string[] => ['embedding', 'attention_norm', 'qkv', 'output', 'gate_up', 'down', 'final_norm'].map(label => `${label} ${rows}`)
  t.strictSame(names(kernels), [...byRows(1), 'head 1', ...byRows(40), 'head 40', 'attention_tile 100 of 100', 'attention_tile 3 of 100', 'sample_scan 3'])
  t.match(kernels.find(({ label }) => label === 'qkv'), { kind: 'linear', kernel: 'qkv_kernel', weight: { outputs: 3072, inputs: 2048 }, seconds: 2, minSeconds: 1, maxSeconds: 3, copies: 1 })
  t.match(kernels.find(({ label, rows }) => label === 'head' && rows === 40), { skipped: /GB of logits/, seconds: 0 }, 'as many logits as the model has no room for')
  t.strictSame(steps.map(({ kvCopies }) => kvCopies), [1, 1, 5, 3, 1], 'keys and values take turns where they are read')
})

t.test('the product that ends a lone token\'s attention is measured with it, the projection that rotates with the products', async t => {
  const { kernels } = await measure(llama, ['qkv rotary', 'attention_split', 'output merged', 'gate_up normed'], { rows: [1], batches: [1], kinds: ['attention'] })
  t.strictSame(names(kernels), ['attention_split 100 of 100', 'output merged 100 of 100', 'attention_split 1 of 100', 'output merged 1 of 100'])
  t.match(kernels.at(-1), { kind: 'attention', kernel: 'output merged_kernel', weight: undefined })
  t.ok((kernels.at(-1)?.bytes ?? 0) > 2 * 2048 * 2048 && kernels.at(-1)?.flops === 2 * 2048 * 2048)
  const { kernels: products } = await measure(llama, ['qkv rotary', 'output', 'gate_up normed', 'down'], { rows: [1], kinds: ['linear'] })
  t.match(products[0], { kind: 'linear', label: 'qkv rotary', weight: { outputs: 3072, inputs: 2048 }, flops: 2 * 3072 * 2048 })
})

t.test('layers that see differently far are measured apart', async t => {
  const gemma = namedShape('gemma-3-1b')
  const { kernels } = await measure(gemma, ['attention_split'], { kinds: ['attention'], batches: [1] })
  t.strictSame(kernels.map(({ rows, window }) => [rows, window]), [[100, 512], [1, 512], [100, undefined], [1, undefined]])
})

t.test('sequences that begin alike are measured together and apart, where contexts are longer than what they share', async t => {
  const shared = { keys: 64, degree: 2 }
  const { kernels, steps } = await measure(llama, ['attention_split'], { kinds: ['attention'], shared, contexts: [64, 100], batches: [1, 3] })
  const sharing = kernels.filter(kernel => kernel.shared !== undefined)
  t.strictSame(sharing.map(({ rows, context, shared }) => ({ rows, context, shared })), [true, false].map(together => ({ rows: 3, context: 100, shared: { ...shared, together } })))
  t.equal(kernels.length, 8)
  t.strictSame(steps.filter(({ together }) => together !== undefined).map(({ together, kvCopies }) => [together, kvCopies]), [[true, 3], [false, 3]])
  // 64 keys for the first two and for the third, and 36 of its own for each.
  t.ok(sharing.every(({ bytes }) => bytes === 64 * (2 * (2 * 64 + 3 * 36) * 8 * 2 + 2 * 1 * 32 * 2)))
})

t.test('of a model with experts, the products of dense layers are not measured', async t => {
  const { kernels } = await measure(namedShape('qwen3-30b-a3b'), ['qkv normed', 'gate_up normed', 'down', 'output'], { kinds: ['linear'], rows: [1] })
  t.strictSame(names(kernels).slice(0, 2), ['qkv normed 1', 'output 1'])
})

t.test('what the device has no room for is skipped by name, and the rest is measured', async t => {
  const { kernels } = await measure(llama, ['attention_split'], { kinds: ['attention'] }, ({ batch }) => batch.sequences.length === 3)
  t.match(kernels, [{ rows: 100, skipped: undefined }, { rows: 3, context: 100, skipped: 'no room for kv 0 (3.0 GB)', seconds: 0 }])
})
