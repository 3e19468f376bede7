import type { DeviceLostError } from '../errors.ts'

/**
 * Ends waits for a device when it is lost. Not a `Promise.race` with the one promise of the loss: that lives as long as the
 * process, and would keep the result of every race ever run.
 */
export class LossWatch {
  readonly #waiting = new Set<(error: DeviceLostError) => void>()
  #error: DeviceLostError | undefined

  constructor (lost: Promise<DeviceLostError>) {
    lost.then(error => {
      this.#error = error
      for (const reject of this.#waiting) reject(error)
      this.#waiting.clear()
    }, () => {})
  }

  /** Set from the loss on. */
  get error (): DeviceLostError | undefined {
    return this.#error
  }

  /** What comes of `work`, or the loss where that comes first. @throws DeviceLostError, or what `work` rejects with */
  async orLost<T> (work: Promise<T>): Promise<T> {
    if (this.#error !== undefined) {
      // What was begun all the same fails, too, and nobody else waits for it.
      work.catch(() => {})
      throw this.#error
    }
    return await new Promise<T>((resolve, reject) => {
      this.#waiting.add(reject)
      const settled = (): void => { this.#waiting.delete(reject) }
      work.then(value => {
        settled()
        resolve(value)
      }, (cause: unknown) => {
        // A lost device fails its pending work, too, and the two come in either order: the loss is the better name.
        setImmediate(() => {
          settled()
          reject(this.#error ?? cause)
        })
      })
    })
  }
}
