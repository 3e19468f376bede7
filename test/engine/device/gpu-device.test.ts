import { OutOfDeviceMemoryError } from '../../../packages/engine/src/errors.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const gpu = await GpuHarness.open()

gpuTest('a buffer larger than a binding is refused by name, since no kernel could bind it', gpu, async (t, { device }) => {
  const limit = device.device.limits.maxStorageBufferBindingSize
  await t.rejects(device.createStorage('logits', limit + 1), new OutOfDeviceMemoryError({ label: 'logits', bytes: Math.ceil((limit + 1) / 16) * 16 }))
})
