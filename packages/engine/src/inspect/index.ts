export { inspectModel } from './inspect-model.ts'
export type { InspectOptions, ModelInspection } from './inspect-model.ts'
export type { DeviceMemory, MemoryFit } from './memory-fit.ts'
export type { MemoryUse } from './memory-use.ts'
