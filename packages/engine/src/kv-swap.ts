import type { ForwardBatch, KVBlockSwap } from './contract.ts'
import type { GpuDevice } from './device/gpu-device.ts'
import { StepTimer } from './device/step-timer.ts'
import { InvalidBatchError } from './errors.ts'
import type { KVStorage } from './kv-storage.ts'

/** A group's buffer: large enough that mapping and allocating few of them is nothing, small enough that sequences waste little. */
const GROUP_BYTES = 8 << 20
const MAX_GROUP_SIZE = 16
/** Buffers between two looks at whether the host still grants them. */
const ALLOCATED_AT_ONCE = 16

/**
 * The host tier: buffers that the device copies into and the host maps, one for each group of slots, `[layer][slot][block]`.
 *
 * They stay mapped from the copy on: WebGPU forbids to submit a mapped buffer, not to have one, and Dawn keeps the memory mapped
 * anyway (BufferVk.cpp). A buffer that is mapped for reading can be the source of no copy on the device, so the way back is a write by
 * the queue, which copies once on the host.
 */
export class KVSwap {
  readonly groupSize: number
  readonly numSlots: number
  /** Taken from the host. */
  readonly bytes: number
  readonly #device: GpuDevice
  readonly #kv: KVStorage
  readonly #groups: readonly GPUBuffer[]
  readonly #timer: StepTimer

  private constructor (device: GpuDevice, kv: KVStorage, groupSize: number, groups: readonly GPUBuffer[]) {
    this.#device = device
    this.#kv = kv
    this.#groups = groups
    this.#timer = new StepTimer(device)
    this.groupSize = groupSize
    this.numSlots = groupSize * groups.length
    this.bytes = this.numSlots * kv.bytesPerBlock
  }

  /** Takes at most `bytes` of host memory, or what of it the host grants. @returns undefined when that is no group's */
  static async allocate (device: GpuDevice, kv: KVStorage, bytes: number): Promise<KVSwap | undefined> {
    const groupSize = Math.max(1, Math.min(MAX_GROUP_SIZE, Math.floor(GROUP_BYTES / kv.bytesPerBlock)))
    const numGroups = Math.floor(bytes / (groupSize * kv.bytesPerBlock))
    const groups: GPUBuffer[] = []
    while (groups.length < numGroups) {
      const granted = await mappableBuffers(device.device, groupSize * kv.bytesPerBlock, Math.min(ALLOCATED_AT_ONCE, numGroups - groups.length))
      if (granted === undefined) break
      groups.push(...granted)
    }
    return groups.length === 0 ? undefined : new KVSwap(device, kv, groupSize, groups)
  }

  /** @throws InvalidBatchError when the batch's swaps break the contract */
  check ({ step, swapOuts = [], swapIns = [] }: ForwardBatch): void {
    const refuse = (problem: string): never => { throw new InvalidBatchError({ step, problem }) }
    const slots = new Set<number>()
    for (const { block, slot } of [...swapOuts, ...swapIns]) {
      if (!(block >= 0 && block < this.#kv.numBlocks)) refuse(`swaps block ${block} of ${this.#kv.numBlocks}`)
      if (!(slot >= 0 && slot < this.numSlots)) refuse(`swaps host slot ${slot} of ${this.numSlots}`)
      if (slots.has(slot)) refuse(`swaps host slot ${slot} twice`)
      slots.add(slot)
    }
    const read = this.#groupsOf(swapIns)
    for (const group of read) if (group.mapState !== 'mapped') refuse('swaps in what has not reached the host')
    for (const group of this.#groupsOf(swapOuts)) {
      if (group.mapState === 'pending') refuse('swaps out into slots that are being written')
      if (read.has(group)) refuse('swaps out into slots that it reads')
    }
  }

  /**
   * Submits a step's swaps, ahead of all else of that step: copies to the host, then writes from it. Slots of swap-ins are free when it
   * returns.
   * @param batch one that has been checked
   */
  submit ({ step, swapOuts = [], swapIns = [] }: ForwardBatch): void {
    const encoder = this.#device.device.createCommandEncoder({ label: 'swap' })
    this.#timer.mark(encoder, step, 'begin')
    for (const group of this.#groupsOf(swapOuts)) if (group.mapState === 'mapped') group.unmap()
    for (const { block, slot, count } of runsOf(swapOuts, this.groupSize)) {
      const { buffer, slot: first } = this.#place(slot)
      this.#kv.encodeCopyOut(encoder, block, count, buffer, layer => layer * this.groupSize + first)
    }
    this.#device.queue.submit([encoder.finish()])
    const mapped = new Map([...this.#groupsOf(swapIns)].map(buffer => [buffer, buffer.getMappedRange()]))
    for (const { block, slot, count } of runsOf(swapIns, this.groupSize)) {
      const { buffer, slot: first } = this.#place(slot)
      const bytes = mapped.get(buffer)
      if (bytes !== undefined) this.#kv.write(this.#device.queue, block, count, bytes, layer => layer * this.groupSize + first)
    }
    for (const buffer of mapped.keys()) buffer.unmap()
  }

  /** Ends the time that `submit` began: what is recorded next waits for the swaps. `readback` takes it at `offset`. */
  encodeEnd (encoder: GPUCommandEncoder, step: number): void {
    this.#timer.mark(encoder, step, 'end')
  }

  resolve (encoder: GPUCommandEncoder, step: number, readback: GPUBuffer, offset: number): void {
    this.#timer.resolve(encoder, step, readback, offset)
  }

  /** Seconds between the beginning of the swaps and their end, or undefined where the adapter has no timestamps. */
  seconds (data: ArrayBuffer, offset: number): number | undefined {
    return this.#timer.seconds(data, offset)
  }

  /** Resolves when the bytes have reached the host. Called after the submit. */
  async arrival (swapOuts: readonly KVBlockSwap[]): Promise<void> {
    await Promise.all([...this.#groupsOf(swapOuts)].map(async buffer => await buffer.mapAsync(GPUMapMode.READ)))
  }

  #groupsOf (swaps: readonly KVBlockSwap[]): Set<GPUBuffer> {
    return new Set(swaps.map(({ slot }) => this.#place(slot).buffer))
  }

  #place (slot: number): { readonly buffer: GPUBuffer, readonly slot: number } {
    const buffer = this.#groups[Math.floor(slot / this.groupSize)]
    if (buffer === undefined) throw new RangeError(`no host slot ${slot}`)
    return { buffer, slot: slot % this.groupSize }
  }
}

/** Bytes of host memory for swapped blocks; see EngineOptions. */
export function swapSpaceBytes (wanted: number | 'auto' | undefined, software: boolean, hostBytes: number): number {
  if (wanted !== 'auto') return wanted ?? 0
  return software ? 0 : Math.min(4 * 2 ** 30, Math.floor(hostBytes / 8))
}

interface Run { readonly block: number; readonly slot: number; readonly count: number }

/** Swaps of neighbouring blocks into neighbouring slots of a group, put together. */
function runsOf (swaps: readonly KVBlockSwap[], groupSize: number): Run[] {
  const runs: Run[] = []
  for (const { block, slot } of swaps) {
    const last = runs.at(-1)
    if (last !== undefined && block === last.block + last.count && slot === last.slot + last.count && slot % groupSize !== 0) {
      runs[runs.length - 1] = { ...last, count: last.count + 1 }
    } else runs.push({ block, slot, count: 1 })
  }
  return runs
}

/** All or none. */
async function mappableBuffers (device: GPUDevice, size: number, count: number): Promise<GPUBuffer[] | undefined> {
  const buffers: GPUBuffer[] = []
  device.pushErrorScope('out-of-memory')
  device.pushErrorScope('validation')
  let failed = false
  try {
    while (buffers.length < count) buffers.push(device.createBuffer({ label: 'swap', size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }))
  } catch {
    failed = true
  }
  const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()])
  if (!failed && errors.every(error => error === null)) return buffers
  for (const buffer of buffers) buffer.destroy()
  return undefined
}
