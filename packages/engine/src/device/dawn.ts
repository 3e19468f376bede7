import { create, globals } from 'webgpu'
import { NoAdapterError } from '../errors.ts'

/** Which trade between speed and checking Dawn makes. */
export type DawnProfile = 'production' | 'debug'

/** Whose driver: the system's, or none. */
export type DawnBackend = 'native' | 'null'

const alwaysOn = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia']
/** Validation costs an extra pass per indirect dispatch, and robustness clamps every load; both stay on in `debug`. */
const productionOn = ['skip_validation', 'disable_robustness', 'disable_workgroup_init']

const optionalFeatures = ['shader-f16', 'subgroups', 'timestamp-query', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix']

interface ProcessWideGPUs { daybreakGPUs?: GPU[] }

/**
 * Opens Dawn and takes an adapter. The only place that loads the native binding.
 *
 * Every object `create()` returns is kept on `globalThis`: Dawn's task runner holds a raw pointer to it, and once it has been
 * collected the process dies at random; so a second device must not take the first one's place. Toggle names that Dawn does not
 * know are ignored silently, so callers ask `adapter.features` for what the toggles should have brought.
 *
 * @param adapterName substring of the adapter's name; undefined takes the first one Dawn prefers
 * @param backend `null` computes nothing, and checks shaders for features that no adapter here may have
 * @throws NoAdapterError naming what to install when there is none
 */
export async function openAdapter (profile: DawnProfile, adapterName: string | undefined, backend: DawnBackend): Promise<GPUAdapter> {
  const holder: typeof globalThis & ProcessWideGPUs = globalThis
  Object.assign(globalThis, globals)
  const toggles = profile === 'production' ? [...alwaysOn, ...productionOn] : alwaysOn
  const flags = [`enable-dawn-features=${toggles.join(',')}`, 'disable-dawn-features=timestamp_quantization']
  if (backend === 'null') flags.unshift('backend=null')
  else if (process.platform === 'linux') flags.unshift('backend=vulkan')
  if (adapterName !== undefined) flags.push(`adapter=${adapterName}`)
  const gpu = create(flags)
  holder.daybreakGPUs = [...holder.daybreakGPUs ?? [], gpu]
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null)
  if (adapter === null) throw new NoAdapterError({ adapterName })
  return adapter
}

/**
 * A device with every optional feature the adapter has of those we use, and the adapter's own limits:
 * WebGPU's defaults (128 MiB bindings, 8 storage buffers, 16 KiB of workgroup memory) are too small for a model.
 */
export async function openDevice (adapter: GPUAdapter): Promise<GPUDevice> {
  const requiredLimits: Record<string, number> = {}
  for (const name of [
    'maxBufferSize', 'maxStorageBufferBindingSize', 'maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX', 'maxComputeWorkgroupSizeY', 'maxComputeWorkgroupSizeZ'
  ] as const) {
    const limit = adapter.limits[name]
    if (limit !== undefined) requiredLimits[name] = limit
  }
  // The experimental name is not in the published feature list.
  const requiredFeatures = optionalFeatures.filter(name => adapter.features.has(name)) as GPUFeatureName[]
  return await adapter.requestDevice({ requiredFeatures, requiredLimits })
}
