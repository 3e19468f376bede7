/** Buffers that the host reads or fills, not mapped. All that are asked for, or undefined when the host does not grant them. */
export async function mappableBuffers (device: GPUDevice, kind: 'read' | 'write', size: number, count: number): Promise<GPUBuffer[] | undefined> {
  const usage = kind === 'read' ? GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST : GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC
  const buffers: GPUBuffer[] = []
  device.pushErrorScope('out-of-memory')
  device.pushErrorScope('validation')
  let failed = false
  try {
    while (buffers.length < count) buffers.push(device.createBuffer({ label: `host memory to ${kind}`, size, usage }))
  } catch {
    failed = true
  }
  const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()])
  if (!failed && errors.every(error => error === null)) return buffers
  for (const buffer of buffers) buffer.destroy()
  return undefined
}
