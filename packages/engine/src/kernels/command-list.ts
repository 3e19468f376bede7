/** One recorded dispatch. */
export interface Dispatch {
  readonly label: string
  readonly pipeline: GPUComputePipeline
  readonly bindGroup: GPUBindGroup
  readonly grid: readonly [x: number, y: number, z: number]
}

/**
 * A flat list of dispatches, built once and replayed step after step. WebGPU has no reusable command buffers, so a replay
 * encodes the list again; what it saves is all decisions, bind groups and allocations.
 */
export class CommandList {
  readonly #dispatches: Dispatch[] = []

  get length (): number { return this.#dispatches.length }
  get dispatches (): readonly Dispatch[] { return this.#dispatches }

  /** Grids with a zero side are dropped: nothing would run. */
  dispatch (label: string, pipeline: { readonly gpu: GPUComputePipeline }, bindGroup: GPUBindGroup, grid: readonly [number, number, number]): void {
    if (grid[0] === 0 || grid[1] === 0 || grid[2] === 0) return
    this.#dispatches.push({ label, pipeline: pipeline.gpu, bindGroup, grid })
  }

  /** Encodes everything into one open pass. By index, since iterators of the list and of each grid were 10 KB of garbage in a step of 117 dispatches. */
  replay (pass: GPUComputePassEncoder): void {
    let pipeline: GPUComputePipeline | undefined
    for (let i = 0; i < this.#dispatches.length; i++) {
      const dispatch = this.#dispatches[i]
      if (dispatch === undefined) continue
      if (dispatch.pipeline !== pipeline) {
        pipeline = dispatch.pipeline
        pass.setPipeline(pipeline)
      }
      pass.setBindGroup(0, dispatch.bindGroup)
      // The binding converts each argument twice, and most grids need but one or two.
      const { grid } = dispatch
      if (grid[2] !== 1) pass.dispatchWorkgroups(grid[0], grid[1], grid[2])
      else if (grid[1] !== 1) pass.dispatchWorkgroups(grid[0], grid[1])
      else pass.dispatchWorkgroups(grid[0])
    }
  }
}
