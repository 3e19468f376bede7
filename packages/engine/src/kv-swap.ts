import type { ForwardBatch, KVBlockSwap } from './contract.ts'
import type { GpuDevice } from './device/gpu-device.ts'
import { mappableBuffers } from './device/mappable-buffers.ts'
import { StepTimer } from './device/step-timer.ts'
import { UploadRing } from './device/upload-ring.ts'
import { InvalidBatchError } from './errors.ts'
import type { KVStorage } from './kv-storage.ts'

/** A group's buffer: large enough that mapping and allocating few of them is nothing, small enough that sequences waste little. */
const GROUP_BYTES = 8 << 20
const MAX_GROUP_SIZE = 16
/** Buffers between two looks at whether the host still grants them. */
const ALLOCATED_AT_ONCE = 16
/**
 * Of upload buffers, each of a group's size: more of them let the host go on while the device is at earlier steps, and beyond a few they
 * make nothing faster. Of a small swap space they are a ninth, and at least one.
 */
const MAX_UPLOAD_BYTES = 128 << 20
const UPLOAD_SHARE = 9

/**
 * The host tier: buffers that the device copies into and the host maps, one for each group of slots, `[layer][slot][block]`.
 *
 * They stay mapped from the copy on: WebGPU forbids to submit a mapped buffer, not to have one, and Dawn keeps the memory mapped
 * anyway (BufferVk.cpp). A buffer that is mapped for reading can be the source of no copy on the device. So on the way back the host
 * copies a group into an upload buffer, from which the device copies it while the host is at the next one.
 */
export class KVSwap {
  readonly groupSize: number
  readonly numSlots: number
  /** Taken from the host: slots and upload buffers. */
  readonly bytes: number
  readonly #device: GpuDevice
  readonly #kv: KVStorage
  readonly #groups: readonly GPUBuffer[]
  readonly #uploads: UploadRing
  readonly #timer: StepTimer

  private constructor (device: GpuDevice, kv: KVStorage, groupSize: number, groups: readonly GPUBuffer[], uploads: UploadRing) {
    this.#device = device
    this.#kv = kv
    this.#groups = groups
    this.#uploads = uploads
    this.#timer = new StepTimer(device)
    this.groupSize = groupSize
    this.numSlots = groupSize * groups.length
    this.bytes = this.numSlots * kv.bytesPerBlock + uploads.bytes
  }

  /**
   * Takes at most `bytes` of host memory, or what of it the host grants.
   * @returns undefined when that is less than a group and its upload buffer
   */
  static async allocate (device: GpuDevice, kv: KVStorage, bytes: number): Promise<KVSwap | undefined> {
    const groupSize = Math.max(1, Math.min(MAX_GROUP_SIZE, Math.floor(GROUP_BYTES / kv.bytesPerBlock)))
    const groupBytes = groupSize * kv.bytesPerBlock
    const numBuffers = Math.floor(bytes / groupBytes)
    if (numBuffers < 2) return undefined
    const numUploads = Math.max(1, Math.floor(Math.min(MAX_UPLOAD_BYTES, bytes / UPLOAD_SHARE) / groupBytes))
    const uploads = await UploadRing.allocate(device.device, groupBytes, numUploads)
    if (uploads === undefined) return undefined
    const numGroups = numBuffers - numUploads
    const groups: GPUBuffer[] = []
    while (groups.length < numGroups) {
      const granted = await mappableBuffers(device.device, 'read', groupBytes, Math.min(ALLOCATED_AT_ONCE, numGroups - groups.length))
      if (granted === undefined) break
      groups.push(...granted)
    }
    if (groups.length > 0) return new KVSwap(device, kv, groupSize, groups, uploads)
    uploads.destroy()
    return undefined
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
   * Submits a step's swaps, ahead of all else of that step: copies to the host, then those from it. Slots of swap-ins are free when that
   * is done.
   * @param batch one that has been checked
   * @returns undefined when it is done. Where swap-ins find too few upload buffers mapped, the milliseconds that the thread was free
   * meanwhile, when it is; nothing else may be submitted until then. Rejects when the device is lost
   */
  submit ({ step, swapOuts = [], swapIns = [] }: ForwardBatch): Promise<number> | undefined {
    const encoder = this.#device.device.createCommandEncoder({ label: 'swap' })
    this.#timer.mark(encoder, step, 'begin')
    for (const group of this.#groupsOf(swapOuts)) if (group.mapState === 'mapped') group.unmap()
    for (const { block, slot, count } of runsOf(swapOuts, this.groupSize)) {
      const { buffer, slot: first } = this.#place(slot)
      this.#kv.encodeCopyOut(encoder, block, count, buffer, layer => layer * this.groupSize + first)
    }
    this.#device.queue.submit([encoder.finish()])
    const groups = this.#runsByGroup(swapIns)
    return this.#copyIn(groups) ? undefined : this.#copyInLater(groups)
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

  /** Copies in what there are upload buffers for, and takes it off `groups`. @returns true when that was all */
  #copyIn (groups: Map<GPUBuffer, Run[]>): boolean {
    for (const [group, runs] of groups) {
      const upload = this.#uploads.take()
      if (upload === undefined) return false
      this.#fill(upload, group, runs)
      group.unmap()
      upload.unmap()
      // A submit for each: the device is not to wait for the host to fill the next.
      const encoder = this.#device.device.createCommandEncoder({ label: 'swap in' })
      for (const { block, slot, count } of runs) {
        this.#kv.encodeCopyIn(encoder, block, count, upload, layer => layer * this.groupSize + slot % this.groupSize)
      }
      this.#device.queue.submit([encoder.finish()])
      this.#uploads.giveBack(upload)
      groups.delete(group)
    }
    return true
  }

  async #copyInLater (groups: Map<GPUBuffer, Run[]>): Promise<number> {
    let freeMs = 0
    do {
      const since = performance.now()
      await this.#uploads.next()
      freeMs += performance.now() - since
    } while (!this.#copyIn(groups))
    return freeMs
  }

  /** Copies the group's slots from the first that is wanted to the last: all of them in one piece, or some of them layer by layer. */
  #fill (upload: GPUBuffer, group: GPUBuffer, runs: readonly Run[]): void {
    const to = new Uint8Array(upload.getMappedRange())
    const from = new Uint8Array(group.getMappedRange())
    const begin = Math.min(...runs.map(({ slot }) => slot % this.groupSize))
    const end = Math.max(...runs.map(({ slot, count }) => slot % this.groupSize + count))
    if (end - begin === this.groupSize) {
      to.set(from)
      return
    }
    const slotBytes = from.length / this.#kv.layers.length / this.groupSize
    for (let layer = 0; layer < from.length; layer += this.groupSize * slotBytes) {
      to.set(from.subarray(layer + begin * slotBytes, layer + end * slotBytes), layer + begin * slotBytes)
    }
  }

  #runsByGroup (swaps: readonly KVBlockSwap[]): Map<GPUBuffer, Run[]> {
    const groups = new Map<GPUBuffer, Run[]>()
    for (const run of runsOf(swaps, this.groupSize)) {
      const { buffer } = this.#place(run.slot)
      const runs = groups.get(buffer)
      if (runs === undefined) groups.set(buffer, [run])
      else runs.push(run)
    }
    return groups
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
