/** A clock that moves only when told to. Seconds. */
export class FakeClock {
  #seconds: number

  constructor (seconds = 0) {
    this.#seconds = seconds
  }

  now (): number {
    return this.#seconds
  }

  advance (seconds: number): void {
    this.#seconds += seconds
  }
}
