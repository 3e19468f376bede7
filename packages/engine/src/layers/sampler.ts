import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { CommandList } from '../kernels/command-list.ts'
import type { Pipeline } from '../kernels/pipeline-cache.ts'
import { sampleChoose, sampleParts, sampleScan } from '../kernels/sample-kernels.ts'
import { resultWords } from '../step-inputs.ts'
import type { StepShape } from '../step-inputs.ts'
import type { ActivationBuffers } from './activation-buffers.ts'
import type { LayerContext } from './layer-context.ts'

export interface SamplerContext extends Pick<LayerContext, 'device' | 'pipelines'> {
  readonly buffers: Pick<ActivationBuffers, 'logits' | 'step' | 'adjusted' | 'scan' | 'counts' | 'sampled' | 'results'>
}

/** Workgroup memory that a list of 2,048 tokens and 1,024 threads need; WebGPU promises half of it. */
const ROOMY_BYTES = 32_768

/** Threads are powers of two, since they reduce by halves where there are no subgroups; not every adapter's limit is one. */
function sizes ({ software, maxWorkgroupThreads, maxWorkgroupBytes }: DeviceCapabilities): { scanThreads: number, chooseThreads: number, LIST: number } {
  const most = 2 ** Math.floor(Math.log2(maxWorkgroupThreads))
  const roomy = maxWorkgroupBytes >= ROOMY_BYTES
  return {
    scanThreads: software ? 32 : Math.min(most, 256),
    chooseThreads: software ? 32 : Math.min(most, roomy ? 1024 : 256),
    LIST: roomy ? 2048 : 512
  }
}

/**
 * From logits to tokens, in two dispatches however a row is sampled. Writes `results` and, for rows that are no scores, `sampled`
 * and the token's count. Batch invariant: a row's bits depend on neither its neighbours nor how many there are.
 */
export class Sampler {
  readonly #parts: number
  readonly #scan: Pipeline<typeof sampleScan.bindings>
  readonly #scanGroup: GPUBindGroup
  readonly #choose: Pipeline<typeof sampleChoose.bindings>
  readonly #chooseGroup: GPUBindGroup

  private constructor (parts: number, scan: Pipeline<typeof sampleScan.bindings>, choose: Pipeline<typeof sampleChoose.bindings>, { buffers }: SamplerContext) {
    const { logits, step, counts, adjusted, sampled, results } = buffers
    this.#parts = parts
    this.#scan = scan
    this.#scanGroup = scan.bind({ logits, step, counts, adjusted, scan: buffers.scan })
    this.#choose = choose
    this.#chooseGroup = choose.bind({ logits, step, adjusted, scan: buffers.scan, counts, sampled, results })
  }

  /** @throws InvalidShaderError */
  static async create (context: SamplerContext, vocabSize: number): Promise<Sampler> {
    const { capabilities } = context.device
    const { scanThreads, chooseThreads, LIST } = sizes(capabilities)
    const { PART, PARTS } = sampleParts(vocabSize)
    const shape = { VOCAB: vocabSize, PART, PARTS, ROLLED: capabilities.software ? 1 : 0 }
    const [scan, choose] = await Promise.all([
      context.pipelines.get(sampleScan, { ...shape, THREADS: scanThreads }),
      context.pipelines.get(sampleChoose, { ...shape, THREADS: chooseThreads, LIST, RESULT_WORDS: resultWords })
    ])
    return new Sampler(PARTS, scan, choose, context)
  }

  record (list: CommandList, { logitRows }: Pick<StepShape, 'logitRows'>): void {
    list.dispatch('sample_scan', this.#scan, this.#scanGroup, [this.#parts, logitRows, 1])
    list.dispatch('sample_choose', this.#choose, this.#chooseGroup, [logitRows, 1, 1])
  }
}
