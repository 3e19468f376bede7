/**
 * How a fake engine process misbehaves. It travels where a real configuration names a synthetic shape, so that the messages, and
 * everything that carries them, are the real ones.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { EngineReport, ModelSource } from '@daybreak/engine'
import type { RunnerLimits } from '@daybreak/engine/contract'
import type { EngineListener } from '../../apps/server/src/engine-process/engine-core.ts'
import type { EngineProcessConfig } from '../../apps/server/src/engine-process/protocol.ts'

export interface FakeEngineScript {
  /** At this step, in this incarnation, the step never resolves. */
  readonly hangAt?: { readonly incarnation: number, readonly step: number }
  /** Below this incarnation, every process dies by SIGKILL at this step. */
  readonly dieAt?: { readonly belowIncarnation: number, readonly step: number }
  /** Below this incarnation, loading fails: with a message, without one, or never ends. */
  readonly loading?: { readonly belowIncarnation: number, readonly how: 'fatal' | 'exit' | 'hang' }
  /** Once ready, the process's thread is stuck as in a driver call: it sees and hears nothing any more. */
  readonly blockWhenReady?: boolean
  readonly software?: boolean
  /** What each step takes at least, as that of a real engine does. */
  readonly stepMs?: number
  /** Fewer blocks than fit all, and places for others in host memory. */
  readonly memory?: { readonly numKVBlocks: number, readonly numHostSlots: number }
}

/** Computing this token kills the process: a prompt that holds it is poison. */
export const POISON_TOKEN = 666
/** That of the embedded model, so that its tokenizer fits. */
export const FAKE_VOCAB_SIZE = 2_048
export const FAKE_MAX_MODEL_LEN = 512

export const scriptedShape = (script: FakeEngineScript): string => JSON.stringify(script)

export const scriptedModel = (script: FakeEngineScript): ModelSource => ({ type: 'synthetic', shape: scriptedShape(script), seed: 0 })

export function scriptOf (model: ModelSource): FakeEngineScript {
  const script: FakeEngineScript = model.type === 'synthetic' ? JSON.parse(model.shape) : {}
  return script
}

/** Plays the script: one object per process. */
export class FakeSteps {
  readonly #script: FakeEngineScript
  readonly #incarnation: number
  #numSteps = 0

  constructor (config: EngineProcessConfig) {
    this.#script = scriptOf(config.engine.model)
    this.#incarnation = config.incarnation
  }

  async load (listener: Pick<EngineListener, 'onProgress'>): Promise<void> {
    listener.onProgress({ stage: 'weights', done: 1, total: 2, detail: 'fake' })
    const { loading } = this.#script
    if (loading === undefined || this.#incarnation >= loading.belowIncarnation) return
    if (loading.how === 'exit') process.exit(3)
    if (loading.how === 'hang') await never()
    throw Object.assign(new Error('no adapter: install one'), { code: 'ENGINE_NO_ADAPTER' })
  }

  /** Awaited before each step takes effect. */
  async next (poisoned: boolean): Promise<void> {
    const step = this.#numSteps++
    const { hangAt, dieAt, stepMs } = this.#script
    if (stepMs !== undefined) await delay(stepMs)
    if (poisoned || (dieAt !== undefined && this.#incarnation < dieAt.belowIncarnation && step === dieAt.step)) {
      process.kill(process.pid, 'SIGKILL')
      await never()
    }
    if (hangAt !== undefined && this.#incarnation === hangAt.incarnation && step === hangAt.step) await never()
  }
}

const never = async (): Promise<never> => await new Promise<never>(() => {})

export function fakeLimits (config: EngineProcessConfig): RunnerLimits {
  const { blockSize, maxSequences, maxBatchedTokens } = config.engine
  return {
    maxBatchedTokens,
    maxSequences,
    maxLogitRows: maxSequences + maxBatchedTokens,
    maxModelLen: FAKE_MAX_MODEL_LEN,
    numKVBlocks: scriptOf(config.engine.model).memory?.numKVBlocks ?? 256,
    blockSize,
    vocabSize: FAKE_VOCAB_SIZE
  }
}

export function fakeReport (config: EngineProcessConfig): EngineReport {
  const { software = true } = scriptOf(config.engine.model)
  return {
    adapter: {
      name: 'a fake',
      vendor: 'none',
      architecture: 'none',
      driver: 'none',
      backend: 'none',
      software,
      features: [],
      limits: {},
      subgroupMinSize: 0,
      subgroupMaxSize: 0,
      subgroupMatrixConfigs: []
    },
    dtype: 'f32',
    architecture: 'FakeForCausalLM',
    parameters: 1_000,
    weightBytes: 4_000,
    weightFormats: [],
    notes: [],
    kvCacheBytes: 1_000,
    swapSpaceBytes: 0,
    loadSeconds: 0
  }
}
