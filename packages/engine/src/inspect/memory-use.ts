import type { EnginePlan } from '../engine-plan.ts'
import { KVStorage } from '../kv-storage.ts'
import type { HostMemory } from '../kv-storage.ts'
import { allocateWorkspace } from '../layers/workspace.ts'
import { decoderAllocator } from '../models/allocate-decoder.ts'
import { makeDecoder } from '../models/make-decoder.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { AllocationAccount } from './allocation-account.ts'

/** What a model allocates on a device for as long as it is served, and what that is enough for. */
export interface MemoryUse {
  readonly weightBytes: number
  /** What steps work in, whatever they compute: activations, logits, tables. */
  readonly workingBytes: number
  readonly kvBytes: number
  readonly totalBytes: number
  /** Tokens that the KV cache holds. */
  readonly kvTokens: number
  /** Sequences of `tokensEach` at once. */
  readonly sequences: number
  /** The longest context, or what the KV cache holds where that is less. */
  readonly tokensEach: number
}

/**
 * Allocates a model as `openEngine` does and in its order, on account. The staging memory that weights pass through on their way,
 * some 50 MB that are freed before anything else is allocated, is left out.
 * @param host its free bytes are those before anything is allocated
 * @throws OutOfDeviceMemoryError where the account has no room
 */
export async function allocateOnAccount (account: AllocationAccount, config: ModelConfig, plan: EnginePlan, host: HostMemory): Promise<MemoryUse> {
  await makeDecoder(config, decoderAllocator(account, plan))
  const weightBytes = account.bytes
  await allocateWorkspace(account, config, plan)
  const fixedBytes = account.bytes
  const kv = await KVStorage.allocate(account, { ...plan.kv, host: { ...host, freeBytes: host.freeBytes - fixedBytes } })
  const { blockSize, maxModelLen, maxSequences } = plan.limits
  const kvTokens = kv.numBlocks * blockSize
  const tokensEach = Math.min(maxModelLen, kvTokens)
  return {
    weightBytes,
    workingBytes: account.bytes - weightBytes - kv.bytes,
    kvBytes: kv.bytes,
    totalBytes: account.bytes,
    kvTokens,
    sequences: Math.min(maxSequences, Math.floor(kv.numBlocks / Math.ceil(tokensEach / blockSize))),
    tokensEach
  }
}
