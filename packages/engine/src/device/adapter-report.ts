import type { AdapterReport } from '../engine.ts'

/** Fields of `adapter.info` that Dawn has and the published types lack. */
interface DawnAdapterInfo {
  readonly isFallbackAdapter?: boolean
  readonly subgroupMinSize?: number
  readonly subgroupMaxSize?: number
  readonly subgroupMatrixConfigs?: ReadonlyArray<{
    readonly componentType: string
    readonly resultComponentType: string
    readonly M: number
    readonly N: number
    readonly K: number
  }>
}

const reportedLimits = [
  'maxBufferSize', 'maxStorageBufferBindingSize', 'maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupsPerDimension', 'minStorageBufferOffsetAlignment'
] as const

/** Everything about an adapter that decides which kernels run on it, as plain data. */
export function reportAdapter (adapter: GPUAdapter): AdapterReport {
  const info: GPUAdapterInfo & DawnAdapterInfo = adapter.info
  const limits: Record<string, number> = {}
  for (const name of reportedLimits) limits[name] = adapter.limits[name]
  return {
    name: info.device,
    vendor: info.vendor,
    architecture: info.architecture,
    driver: info.description,
    backend: process.platform === 'darwin' ? 'metal' : process.platform === 'win32' ? 'd3d12' : 'vulkan',
    software: info.isFallbackAdapter === true || /llvmpipe|swiftshader|warp|basic render/i.test(`${info.device} ${info.description}`),
    features: [...adapter.features].map(String).sort(),
    limits,
    subgroupMinSize: info.subgroupMinSize ?? 0,
    subgroupMaxSize: info.subgroupMaxSize ?? 0,
    subgroupMatrixConfigs: (info.subgroupMatrixConfigs ?? []).map(c => ({
      componentType: c.componentType,
      resultComponentType: c.resultComponentType,
      m: c.M,
      n: c.N,
      k: c.K
    }))
  }
}
