import { systemClock } from '../generation/clock.ts'

/** Waits for a promise, but not longer than `ms`. Resolves with whether it was in time; rejects as the promise does. */
export async function settledWithin (promise: Promise<unknown>, ms: number): Promise<boolean> {
  let cancel = (): void => {}
  const late = new Promise<boolean>(resolve => { cancel = systemClock.after(ms, () => resolve(false)) })
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    cancel()
  }
}
