/**
 * Run in a process of its own, because a broken driver may take the process with it: opens Dawn, runs one small
 * computation, and prints `{ "name", "software" }` as one line of JSON; exits 1 when no adapter can do that.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { projectRoot } from './cache-folder.mjs'

const engineRequire = createRequire(join(projectRoot, 'packages', 'engine', 'package.json'))
const { create, globals } = await import(pathToFileURL(engineRequire.resolve('webgpu')).href)
const { GPUBufferUsage, GPUMapMode } = globals

// Dawn's native object is freed with this one, also while it is still at work: a global keeps it to the end.
globalThis.dawn = create(process.platform === 'linux' ? ['backend=vulkan'] : [])

const adapter = await globalThis.dawn.requestAdapter()
if (adapter === null) process.exit(1)
const device = await adapter.requestDevice()
const doubled = await double(device, Uint32Array.of(1, 2, 3, 4))
if (doubled.join() !== '2,4,6,8') process.exit(1)

const { description, device: deviceName, architecture } = adapter.info
// lavapipe, SwiftShader and WARP all call themselves so; `isFallbackAdapter` is set for the first two only.
const software = adapter.info.isFallbackAdapter === true || /llvmpipe|lavapipe|swiftshader|basic render/i.test(`${description} ${deviceName} ${architecture}`)
process.stdout.write(JSON.stringify({ name: description || deviceName, software }) + '\n', () => process.exit(0))

/** Doubles each number on the device: shader compilation, a dispatch and a read back all have to work. */
async function double (device, numbers) {
  const storage = device.createBuffer({ size: numbers.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST })
  const readback = device.createBuffer({ size: numbers.byteLength, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ })
  device.queue.writeBuffer(storage, 0, numbers)
  const code = `@group(0) @binding(0) var<storage, read_write> x: array<u32>;
    @compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { x[i] = x[i] * 2u; }`
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module: device.createShaderModule({ code }) } })
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: storage } }] })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, group)
  pass.dispatchWorkgroups(1)
  pass.end()
  encoder.copyBufferToBuffer(storage, 0, readback, 0, numbers.byteLength)
  device.queue.submit([encoder.finish()])
  await readback.mapAsync(GPUMapMode.READ)
  return new Uint32Array(readback.getMappedRange().slice(0))
}
