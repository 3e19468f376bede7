import type { KVBlockMove } from './contract.ts'
import type { StorageAllocator } from './device/storage-allocator.ts'
import type { StorageType } from './engine.ts'
import { OutOfDeviceMemoryError } from './errors.ts'
import type { ModelConfig } from './models/model-config.ts'

/** Bytes of one block in one layer: keys and values of `blockSize` tokens. */
export function blockBytesPerLayer (config: ModelConfig, blockSize: number, storage: StorageType): number {
  return 2 * config.numKVHeads * config.headDim * blockSize * (storage === 'f16' ? 2 : 4)
}

export interface KVStorageRequest {
  readonly config: ModelConfig
  readonly blockSize: number
  readonly storage: StorageType
  /** Undefined: as much as `wantedTokens` need, or as allocation allows. */
  readonly kvCacheBytes: number | undefined
  /** Tokens that the limits can make use of. */
  readonly wantedTokens: number
  /** Fewest tokens that make sense: one sequence of the model's context. */
  readonly leastTokens: number
  readonly host: HostMemory
}

/** The machine's own memory, which integrated GPUs share and software adapters live in. */
export interface HostMemory {
  readonly freeBytes: number
  readonly totalBytes: number
}

/** Keys and values on the device: one buffer per layer, `[block][k|v][kvHead][slot][headDim]`. */
export class KVStorage {
  readonly layers: readonly GPUBuffer[]
  readonly numBlocks: number
  readonly bytes: number
  readonly #blockBytes: number
  /** One block of one layer, on its way: a buffer is not copied to itself. */
  readonly #moved: GPUBuffer

  private constructor (layers: readonly GPUBuffer[], moved: GPUBuffer, numBlocks: number, blockBytes: number) {
    this.layers = layers
    this.#moved = moved
    this.numBlocks = numBlocks
    this.#blockBytes = blockBytes
    this.bytes = layers.length * numBlocks * blockBytes
  }

  /**
   * Allocates what was asked for. Without a budget, sizes are tried from what the limits can use downwards until the device
   * agrees. A device that shares the host's memory agrees to more than there is, and WebGPU does not say which does: half of the
   * host's memory is the most without a stated budget, and on a software adapter a quarter of what is free.
   * @throws OutOfDeviceMemoryError when a stated budget, or the least sensible size, does not fit
   */
  static async allocate (device: StorageAllocator, request: KVStorageRequest): Promise<KVStorage> {
    const { config, blockSize, storage, kvCacheBytes, host } = request
    const blockBytes = blockBytesPerLayer(config, blockSize, storage)
    const perBlock = blockBytes * config.layers.length
    const mostInBinding = Math.floor(device.capabilities.maxBindingBytes / blockBytes)
    const least = Math.min(Math.ceil(request.leastTokens / blockSize), mostInBinding)
    if (kvCacheBytes !== undefined) {
      const blocks = Math.min(mostInBinding, Math.floor(kvCacheBytes / perBlock))
      if (blocks < 1) throw new OutOfDeviceMemoryError({ label: `a KV cache of ${kvCacheBytes} bytes, whose smallest block`, bytes: perBlock })
      return await KVStorage.#create(device, config.layers.length, blocks, blockBytes)
    }
    const affordable = Math.floor((device.capabilities.software ? host.freeBytes / 4 : host.totalBytes / 2) / perBlock)
    let blocks = Math.max(1, Math.min(mostInBinding, Math.ceil(request.wantedTokens / blockSize), Math.max(least, affordable)))
    for (;;) {
      try {
        return await KVStorage.#create(device, config.layers.length, blocks, blockBytes)
      } catch (error) {
        if (!(error instanceof OutOfDeviceMemoryError) || blocks <= least) throw error
        // Leaves some room for what the driver allocates while it runs.
        blocks = Math.max(least, Math.floor(blocks * 0.75))
      }
    }
  }

  static async #create (device: StorageAllocator, numLayers: number, blocks: number, blockBytes: number): Promise<KVStorage> {
    const layers: GPUBuffer[] = []
    try {
      for (let layer = 0; layer < numLayers; layer++) layers.push(await device.createStorage(`kv ${layer}`, blocks * blockBytes))
      return new KVStorage(layers, await device.createStorage('moved block', blockBytes), blocks, blockBytes)
    } catch (error) {
      for (const layer of layers) layer.destroy()
      throw error
    }
  }

  /** In all layers together. */
  get bytesPerBlock (): number {
    return this.layers.length * this.#blockBytes
  }

  /** Copies neighbouring blocks of every layer to where `placeOf` says, in blocks. */
  encodeCopyOut (encoder: GPUCommandEncoder, block: number, count: number, to: GPUBuffer, placeOf: (layer: number) => number): void {
    const bytes = this.#blockBytes
    for (const [i, layer] of this.layers.entries()) encoder.copyBufferToBuffer(layer, block * bytes, to, placeOf(i) * bytes, count * bytes)
  }

  /** The same copies the other way. */
  encodeCopyIn (encoder: GPUCommandEncoder, block: number, count: number, from: GPUBuffer, placeOf: (layer: number) => number): void {
    const bytes = this.#blockBytes
    for (const [i, layer] of this.layers.entries()) encoder.copyBufferToBuffer(from, placeOf(i) * bytes, layer, block * bytes, count * bytes)
  }

  /** Copies blocks in every layer, before the step computes. */
  encodeMoves (encoder: GPUCommandEncoder, moves: readonly KVBlockMove[]): void {
    const bytes = this.#blockBytes
    for (const { from, to } of moves) {
      for (const layer of this.layers) {
        encoder.copyBufferToBuffer(layer, from * bytes, this.#moved, 0, bytes)
        encoder.copyBufferToBuffer(this.#moved, 0, layer, to * bytes, bytes)
      }
    }
  }
}
