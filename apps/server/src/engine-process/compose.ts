import type { Engine } from '@daybreak/engine'
import { KVCache, kvCacheConfig } from '@daybreak/kvcache'
import { GenerationLoop, Scheduler, schedulerConfig, systemClock } from '@daybreak/scheduler'
import type { EngineCapacity } from '../generation/generation-service.ts'
import type { EngineCore, EngineListener } from './engine-core.ts'
import type { EngineProcessConfig } from './protocol.ts'

/**
 * Longest step on a software adapter when nobody says: there, compute time grows with the tokens of a step and nothing is gained
 * by large ones, so a long prompt would only hold up everybody's next token.
 */
const SOFTWARE_BATCHED_TOKENS = 256

/** The composition root of an engine process: KV cache, scheduler and loop around an engine, which the result then owns. */
export function composeCore ({ runner, report }: Engine, config: EngineProcessConfig, listener: EngineListener): EngineCore {
  const { numKVBlocks, blockSize, maxModelLen } = runner.limits
  const maxBatchedTokens = Math.min(runner.limits.maxBatchedTokens,
    config.scheduler.maxBatchedTokens ?? (report.adapter.software ? SOFTWARE_BATCHED_TOKENS : Infinity))
  const { preemption, prefixCaching, swapInStepBlocks, backgroundStepTokens, backgroundRideTokens = 0 } = config.scheduler
  const { numSlots: numHostSlots, groupSize: hostGroupSize } = runner.hostTier ?? { numSlots: 0, groupSize: 1 }
  const kvCache = new KVCache(kvCacheConfig({ numBlocks: numKVBlocks, blockSize, prefixCaching, numHostSlots, hostGroupSize }))
  // The server keeps the queue's bounds. After a restart everything it has accepted comes at once, and must not be refused here.
  const limits = { maxWaitingRequests: Number.MAX_SAFE_INTEGER, maxWaitingTokens: Number.MAX_SAFE_INTEGER }
  const schedulerOptions = schedulerConfig({
    ...limits, preemption, swapInStepBlocks, swapBlockSeconds: runner.hostTier?.blockSeconds, backgroundStepTokens, backgroundRideTokens
  })
  const scheduler = new Scheduler(schedulerOptions, kvCache, { ...runner.limits, maxBatchedTokens }, systemClock)
  const loop = new GenerationLoop({
    scheduler,
    runner: {
      limits: runner.limits,
      hostTier: runner.hostTier,
      // The server must know what a step computes before the step can kill the process.
      execute: async batch => {
        const events = scheduler.takeEvents()
        if (events.length > 0) listener.onEvents(events, undefined)
        return await runner.execute(batch)
      },
      [Symbol.asyncDispose]: async () => await runner[Symbol.asyncDispose]()
    },
    clock: systemClock,
    listener: {
      onEvents: (events, summary) => listener.onEvents(events, summary),
      onFailure: error => listener.onFatal(error)
    }
  })
  const capacity: EngineCapacity = {
    // A sequence has to fit into the KV cache, whatever the model could do.
    maxModelLen: Math.min(maxModelLen, numKVBlocks * blockSize),
    maxSequences: runner.limits.maxSequences,
    maxBatchedTokens,
    vocabSize: runner.limits.vocabSize,
    numKVBlocks,
    numHostSlots,
    blockSize,
    dtype: report.dtype,
    adapter: report.adapter.name,
    softwareAdapter: report.adapter.software
  }
  return {
    capacity,
    report,
    get stats () { return loop.stats },
    generate: request => loop.add(request),
    abort: (id, choice) => loop.abort(id, choice),
    pause: id => loop.pause(id),
    resume: id => loop.resume(id),
    [Symbol.asyncDispose]: async () => {
      await loop[Symbol.asyncDispose]()
      await runner[Symbol.asyncDispose]()
    }
  }
}
