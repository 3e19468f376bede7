import type { EngineOptions } from '@daybreak/engine'
import type { ModelSource } from '../models/index.ts'
import type { EngineConfig, ModelConfig } from '../config.ts'
import type { EngineProcessConfig } from '../engine-process/protocol.ts'

/** The engine's buffers are made for this many tokens a step before it is known what adapter it is. */
const AUTO_BATCHED_TOKENS = 2048

/** The settings as the engine takes them. `source` holds the model, unless a synthetic one is asked for. */
export function engineOptions (model: ModelConfig, engine: EngineConfig, source: ModelSource): Omit<EngineOptions, 'onProgress'> {
  return {
    model: model.synthetic === undefined
      ? source
      : { type: 'synthetic', shape: model.synthetic, seed: model.seed },
    dtype: engine.dtype,
    adapter: engine.adapter,
    debug: engine.debugGpu,
    blockSize: engine.blockSize,
    kvCacheBytes: engine.kvCacheMemory,
    swapSpaceBytes: engine.swapSpace ?? 'auto',
    maxModelLen: engine.maxModelLen,
    maxSequences: engine.maxNumSeqs,
    maxBatchedTokens: engine.maxNumBatchedTokens ?? AUTO_BATCHED_TOKENS,
    deterministic: engine.deterministic,
    sharedAttention: engine.sharedAttention === undefined ? undefined : engine.sharedAttention === 'on',
    wholeLayers: engine.wholeLayers
  }
}

/**
 * Everything an engine process is told.
 * @param tuningFolder where it keeps what it measures about the adapter
 */
export function engineProcessConfig (model: ModelConfig, engine: EngineConfig, source: ModelSource, logLevel: string, tuningFolder: string): Omit<EngineProcessConfig, 'incarnation'> {
  return {
    engine: { ...engineOptions(model, engine, source), tuningFolder },
    scheduler: {
      maxBatchedTokens: engine.maxNumBatchedTokens,
      prefixCaching: engine.prefixCaching,
      preemption: engine.preemptionMode,
      swapInStepBlocks: engine.swapInStepBlocks,
      backgroundStepTokens: engine.backgroundStepTokens,
      backgroundRideTokens: engine.backgroundRideTokens
    },
    logLevel
  }
}
