import type { GpuDevice } from './gpu-device.ts'
import type { Dispatch } from '../kernels/command-list.ts'

/** What five measurements of the same gave, in seconds. */
export interface Spread {
  readonly seconds: number
  readonly minSeconds: number
  readonly maxSeconds: number
}

const PASSES = 5
/** A pass is this long, so that its own fixed cost does not count; and of so few dispatches that the host can encode it quickly. */
const PASS_SECONDS = 0.01
const MOST_DISPATCHES = 4096
/** A GPU's clocks take a while to rise: it is kept busy this long before a measurement. */
const WAKE_SECONDS = 0.2

/**
 * Times dispatches as they run in a step, one after the other in one pass with a timestamp at either end. Several units that do the
 * same to different buffers take turns, over passes too, so that none finds its data in a cache.
 */
export class PassTimer implements Disposable {
  readonly #gpu: GpuDevice
  readonly #queries: GPUQuerySet
  readonly #resolved: GPUBuffer
  readonly #readable: GPUBuffer
  #next = 0

  /** The adapter must have timestamps. */
  constructor (gpu: GpuDevice) {
    this.#gpu = gpu
    this.#queries = gpu.device.createQuerySet({ type: 'timestamp', count: 2 })
    this.#resolved = gpu.device.createBuffer({ label: 'timestamps', size: 256, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC })
    this.#readable = gpu.device.createBuffer({ label: 'timestamps', size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  }

  /**
   * Of one unit, the median of five passes.
   * @param wakeSeconds how long the device is kept busy before
   * @param passSeconds how long a pass is made
   */
  async time (units: ReadonlyArray<readonly Dispatch[]>, { wakeSeconds = this.#gpu.capabilities.software ? 0 : WAKE_SECONDS, passSeconds = PASS_SECONDS } = {}): Promise<Spread> {
    const perUnit = Math.max(1, units[0]?.length ?? 1)
    const most = Math.max(1, Math.floor(MOST_DISPATCHES / perUnit))
    // The first pass may include the driver's compiler, and page faults.
    const few = Math.min(units.length, 4)
    await this.#pass(units, few)
    const count = Math.min(most, Math.max(1, Math.round(passSeconds / Math.max(await this.#pass(units, few), 1e-9))))
    for (let busy = 0; busy < wakeSeconds;) busy += Math.max(count * await this.#pass(units, count), 1e-6)
    const times: number[] = []
    for (let pass = 0; pass < PASSES; pass++) times.push(await this.#pass(units, count))
    return { seconds: medianOf(times), minSeconds: Math.min(...times), maxSeconds: Math.max(...times) }
  }

  [Symbol.dispose] (): void {
    for (const resource of [this.#queries, this.#resolved, this.#readable]) resource.destroy()
  }

  /** Seconds of each of so many units. */
  async #pass (units: ReadonlyArray<readonly Dispatch[]>, count: number): Promise<number> {
    const { device, queue } = this.#gpu
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass({ timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } })
    for (let i = 0; i < count; i++) {
      for (const { pipeline, bindGroup, grid } of units[this.#next++ % units.length] ?? []) {
        pass.setPipeline(pipeline)
        pass.setBindGroup(0, bindGroup)
        pass.dispatchWorkgroups(...grid)
      }
    }
    pass.end()
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0)
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#readable, 0, 16)
    queue.submit([encoder.finish()])
    await this.#readable.mapAsync(GPUMapMode.READ)
    const [begin = 0n, end = 0n] = new BigUint64Array(this.#readable.getMappedRange())
    this.#readable.unmap()
    return Number(end - begin) / 1e9 / count
  }
}

/** The middle of an odd number of values, the lower middle of an even one; NaN of none. */
export function medianOf (values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN
}
