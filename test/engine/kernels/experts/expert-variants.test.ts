import t from 'tap'
import type { DeviceCapabilities } from '../../../../packages/engine/src/device/device-capabilities.ts'
import type { ExpertConfig } from '../../../../packages/engine/src/kernels/experts/expert-config.ts'
import { expertVariants } from '../../../../packages/engine/src/kernels/experts/expert-variants.ts'

/** What WebGPU promises of every adapter. */
const least: DeviceCapabilities = {
  f16: false, subgroups: false, timestamps: false, subgroupMatrix: false, software: false, maxBindingBytes: 128 << 20, maxWorkgroupThreads: 256, maxWorkgroupBytes: 16_384
}
const config: ExpertConfig = { numExperts: 128, expertsPerToken: 8, intermediateSize: 768, hiddenSize: 2048, normalizeTopK: true, activation: 'silu' }

t.test('no expert kernel asks for more threads or workgroup memory than the adapter has', async t => {
  for (const maxWorkgroupThreads of [256, 512, 1024]) {
    for (const { gateUp, down } of expertVariants(config, { capabilities: { ...least, maxWorkgroupThreads } })) {
      for (const { name, wgsl } of [gateUp, down]) {
        const [, columns, depth] = /@workgroup_size\((\d+), (\d+)\)/.exec(wgsl) ?? []
        const [, floats = 0] = /var<workgroup> parts: array<f32, (\d+)>/.exec(wgsl) ?? []
        t.ok(Number(columns) * Number(depth) <= maxWorkgroupThreads, `${name} on ${maxWorkgroupThreads} threads`)
        t.ok(4 * Number(floats) <= least.maxWorkgroupBytes, `${name}: bytes`)
      }
    }
  }
})
