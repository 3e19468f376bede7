import type { LoadedMatrix, QuantizedMatrix } from './quantized-matrix.ts'

/**
 * Keeps the matrix that is being read, and no other: loaders ask for consecutive runs of rows, so a packed tensor whose rows lie
 * scattered is read once and let go after its last row. What it holds is at most the largest packed tensor with its companions.
 */
export class LastLoaded {
  #matrix: QuantizedMatrix | undefined
  #loaded: Promise<LoadedMatrix> | undefined

  get (matrix: QuantizedMatrix): Promise<LoadedMatrix> {
    if (this.#matrix === matrix && this.#loaded !== undefined) return this.#loaded
    this.#matrix = matrix
    this.#loaded = matrix.load()
    this.#loaded.catch(() => this.forget(matrix))
    return this.#loaded
  }

  /** Lets go of the matrix, if it is the one that is kept. */
  forget (matrix: QuantizedMatrix): void {
    if (this.#matrix !== matrix) return
    this.#matrix = undefined
    this.#loaded = undefined
  }
}
