import type { Test } from 'tap'
import type { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import type { Bindings, Kernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { shaderPrelude } from '../../../packages/engine/src/kernels/shader-source.ts'

/** The kernel compiles for an adapter that has subgroups and stores and computes f16, whatever the device is: Dawn's null backend will do. */
export async function assertValidWgsl (t: Test, { device, capabilities }: GpuDevice, { name, wgsl }: Pick<Kernel<Bindings, string>, 'name' | 'wgsl'>): Promise<void> {
  const code = shaderPrelude({ ...capabilities, f16: true, subgroups: true }, 'f16', 'f16', wgsl) + wgsl
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo()
  t.strictSame(messages.filter(({ type }) => type === 'error').map(({ lineNum, message }) => `${lineNum}: ${message}`), [], name)
}
