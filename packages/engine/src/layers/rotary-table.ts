import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageAllocator } from '../device/storage-allocator.ts'
import { rotation } from '../models/rotary.ts'
import type { RotaryConfig } from '../models/rotary.ts'

/**
 * Room for cos and sin of every position's angles, `[maxModelLen][dim / 2]` vec2<f32>. Tabled because shaders' own sin and cos lose
 * their accuracy for large arguments.
 * @throws OutOfDeviceMemoryError
 */
export async function createRotaryTable (device: StorageAllocator, { dim }: RotaryConfig, maxModelLen: number): Promise<GPUBuffer> {
  return await device.createStorage('rotation', maxModelLen * dim / 2 * 8)
}

/** Writes the table. The angle is rounded to f32 before its cosine, as transformers does. */
export function fillRotaryTable ({ queue }: GpuDevice, table: GPUBuffer, config: RotaryConfig, maxModelLen: number): void {
  const { frequencies, amplitude } = rotation(config, maxModelLen)
  const half = frequencies.length
  const positionsAtOnce = Math.max(1, Math.floor((4 << 20) / (half * 8)))
  const values = new Float32Array(positionsAtOnce * half * 2)
  for (let first = 0; first < maxModelLen; first += positionsAtOnce) {
    const positions = Math.min(positionsAtOnce, maxModelLen - first)
    for (let p = 0; p < positions; p++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround((first + p) * (frequencies[i] ?? 0))
        values[2 * (p * half + i)] = Math.cos(angle) * amplitude
        values[2 * (p * half + i) + 1] = Math.sin(angle) * amplitude
      }
    }
    queue.writeBuffer(table, first * half * 8, values, 0, positions * half * 2)
  }
}
