import { readFileSync } from 'node:fs'
import type { DeviceCapabilities } from '../device/device-capabilities.ts'
import type { StorageType } from '../engine.ts'

const shaderFolder = new URL('../../wgsl/', import.meta.url)

/** Text of `wgsl/<name>.wgsl`. Read synchronously: kernels are declared once, while the module loads. */
export function readShader (name: string): string {
  return readFileSync(new URL(`${name}.wgsl`, shaderFolder), 'utf8')
}

const stepInputs = readShader('step_inputs')
const tableVector = readShader('table_vector')
const reduceSubgroup = readShader('reduce_subgroup')
const reduceWorkgroup = readShader('reduce_workgroup')

/**
 * What stands before every kernel. `elem` is the storage type of weights and KV, `act` that of the activations a matrix product
 * reads. WGSL's module scope has no order, so shared functions are simply concatenated; a kernel pays only for what it calls.
 */
export function shaderPrelude (capabilities: DeviceCapabilities, storage: StorageType, activation: StorageType, wgsl: string): string {
  const usesMatrix = wgsl.includes('subgroup_matrix')
  const lines: string[] = []
  if (usesMatrix) lines.push('diagnostic(off, chromium.subgroup_matrix_uniformity);')
  if (storage === 'f16' || activation === 'f16') lines.push('enable f16;')
  if (capabilities.subgroups) lines.push('enable subgroups;')
  if (usesMatrix) lines.push('enable chromium_experimental_subgroup_matrix;')
  lines.push(`alias elem = ${storage};`, `alias elem4 = vec4<${storage}>;`, `alias act = ${activation};`, `alias act4 = vec4<${activation}>;`,
    // Largest value that may be stored: beyond it f16 would be infinite.
    `const ACT_MAX = ${largest(activation)};`, `const ELEM_MAX = ${largest(storage)};`)
  if (/var<storage, read> step\b/.test(wgsl)) lines.push(stepInputs)
  if (/\btable_vector\b/.test(wgsl)) lines.push(tableVector)
  if (/\bworkgroup_(sum|max)\b/.test(wgsl)) lines.push(capabilities.subgroups ? reduceSubgroup : reduceWorkgroup)
  return lines.join('\n') + '\n'
}

function largest (type: StorageType): string {
  return type === 'f16' ? '65504.0' : '3.4028234e38'
}
