import type { EngineOptions } from '@daybreak/engine'
import type { EngineProcessConfig } from '../engine-process/protocol.ts'
import type { ModelSource } from '../models/index.ts'

export interface EvalEngineOptions {
  readonly model: ModelSource
  readonly dtype: EngineOptions['dtype']
  readonly adapter: string | undefined
  readonly maxModelLen: number
  readonly maxSequences: number
  readonly prefixCaching: boolean
}

/** An engine as questions need it: nothing is spared, and nothing is logged. */
export function evalEngineConfig ({ model, dtype, adapter, maxModelLen, maxSequences, prefixCaching }: EvalEngineOptions): Omit<EngineProcessConfig, 'incarnation'> {
  return {
    engine: { model, dtype, adapter, debug: false, blockSize: 16, kvCacheBytes: undefined, maxModelLen, maxSequences, maxBatchedTokens: 2048 },
    scheduler: { maxBatchedTokens: undefined, prefixCaching, preemption: 'auto' },
    logLevel: 'silent'
  }
}
