import type { PlannedDevice, PlanOptions } from '../engine-plan.ts'
import { planEngine } from '../engine-plan.ts'
import { OutOfDeviceMemoryError } from '../errors.ts'
import type { HostMemory } from '../kv-storage.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { AllocationAccount } from './allocation-account.ts'
import { allocateOnAccount } from './memory-use.ts'
import type { MemoryUse } from './memory-use.ts'

/** How much a device has for a model, and who says so. */
export interface DeviceMemory {
  readonly bytes: number
  /** Stated by the user, or the host's free memory, in which a software adapter lives. */
  readonly source: 'stated' | 'host'
}

export type MemoryFit =
  | { readonly type: 'fits', readonly memory: DeviceMemory, readonly use: MemoryUse }
  /** `obstacle` is what the engine would refuse to start with; `longestContext` what it would start with, undefined where no context is short enough. */
  | { readonly type: 'does-not-fit', readonly memory: DeviceMemory | undefined, readonly obstacle: OutOfDeviceMemoryError, readonly longestContext: number | undefined }
  /** No buffer is too large for the device, and nobody says how much memory it has. */
  | { readonly type: 'unknown' }

/** What a model is asked to fit. */
export interface FitQuestion {
  readonly config: ModelConfig
  readonly options: PlanOptions
  readonly device: PlannedDevice
  /** Undefined: nobody knows. */
  readonly memory: DeviceMemory | undefined
  readonly host: HostMemory
}

/** Whether the engine would start, by allocating on account of so much memory. @throws UnsupportedModelError (rejects) */
export async function memoryFit (question: FitQuestion): Promise<MemoryFit> {
  const { config, options, device, memory } = question
  const { limits } = planEngine(config, options, device)
  const use = await useWith(question, limits.maxModelLen)
  if (!(use instanceof OutOfDeviceMemoryError)) return memory === undefined ? { type: 'unknown' } : { type: 'fits', memory, use }
  return { type: 'does-not-fit', memory, obstacle: use, longestContext: await longestContext(question, limits.maxModelLen) }
}

async function useWith ({ config, options, device, memory, host }: FitQuestion, maxModelLen: number): Promise<MemoryUse | OutOfDeviceMemoryError> {
  const plan = planEngine(config, { ...options, maxModelLen }, device)
  const account = new AllocationAccount(device.capabilities, { freeBytes: memory?.bytes, bufferBytes: device.capabilities.maxBindingBytes })
  try {
    return await allocateOnAccount(account, config, plan, host)
  } catch (error) {
    if (error instanceof OutOfDeviceMemoryError) return error
    throw error
  }
}

/** By halves: what starts with a context starts with every shorter one. */
async function longestContext (question: FitQuestion, tooLong: number): Promise<number | undefined> {
  let [good, bad] = [0, tooLong]
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2)
    if (await useWith(question, middle) instanceof OutOfDeviceMemoryError) bad = middle
    else good = middle
  }
  return good === 0 ? undefined : good
}
