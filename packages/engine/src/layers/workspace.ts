import type { StorageAllocator } from '../device/storage-allocator.ts'
import type { EnginePlan } from '../engine-plan.ts'
import { expertConfig } from '../models/expert-layer.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { createActivationBuffers } from './activation-buffers.ts'
import type { ActivationBuffers } from './activation-buffers.ts'
import { createExpertBuffers } from './expert-buffers.ts'
import type { ExpertBuffers } from './expert-buffers.ts'
import { createRotaryTable } from './rotary-table.ts'

/** What steps work in beside weights and KV cache. */
export interface Workspace {
  readonly buffers: ActivationBuffers
  readonly experts: ExpertBuffers | undefined
  /** One of each of the configuration's `rotaries`, not yet filled. */
  readonly rotations: readonly GPUBuffer[]
}

/** @throws OutOfDeviceMemoryError */
export async function allocateWorkspace (device: StorageAllocator, config: ModelConfig, { limits, activation, stepWords, partedProducts }: EnginePlan): Promise<Workspace> {
  const buffers = await createActivationBuffers(device, config, limits, activation, stepWords, partedProducts)
  const experts = config.experts === undefined ? undefined : await createExpertBuffers(device, expertConfig(config), limits.maxBatchedTokens, activation)
  const rotations: GPUBuffer[] = []
  for (const rotary of config.rotaries) rotations.push(await createRotaryTable(device, rotary, limits.maxModelLen))
  return { buffers, experts, rotations }
}
