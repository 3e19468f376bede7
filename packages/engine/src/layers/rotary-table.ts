import type { GpuDevice } from '../device/gpu-device.ts'
import { rotation } from '../models/rotary.ts'
import type { RotaryConfig } from '../models/rotary.ts'

/**
 * cos and sin of every position's angles, `[maxModelLen][dim / 2]` vec2<f32>. Tabled because shaders' own sin and cos lose their
 * accuracy for large arguments. The angle is rounded to f32 before its cosine, as transformers does.
 */
export async function createRotaryTable (device: GpuDevice, config: RotaryConfig, maxModelLen: number): Promise<GPUBuffer> {
  const { frequencies, amplitude } = rotation(config, maxModelLen)
  const half = frequencies.length
  const buffer = await device.createStorage('rotation', maxModelLen * half * 8)
  const positionsAtOnce = Math.max(1, Math.floor((4 << 20) / (half * 8)))
  const table = new Float32Array(positionsAtOnce * half * 2)
  for (let first = 0; first < maxModelLen; first += positionsAtOnce) {
    const positions = Math.min(positionsAtOnce, maxModelLen - first)
    for (let p = 0; p < positions; p++) {
      for (let i = 0; i < half; i++) {
        const angle = Math.fround((first + p) * (frequencies[i] ?? 0))
        table[2 * (p * half + i)] = Math.cos(angle) * amplitude
        table[2 * (p * half + i) + 1] = Math.sin(angle) * amplitude
      }
    }
    device.queue.writeBuffer(buffer, first * half * 8, table, 0, positions * half * 2)
  }
  return buffer
}
