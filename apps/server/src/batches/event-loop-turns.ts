import { setImmediate as nextTurn } from 'node:timers/promises'

/** Work between two turns takes about this long, or as long as its longest piece. */
const MOST_MS = 1

/** Of the whole process, as the event loop is: pieces of several batches, each within its time, would else add up. */
let last: Promise<void> = Promise.resolve()
let turnBegan = 0

/**
 * Does a piece of work behind those that came before, with a turn of the event loop for everybody else whenever the time is up. Many
 * that wait for a turn of their own would all get the same one, and do their work in it in one go: so they come one by one.
 * @param piece what it does after an `await` of its own is done beside the pieces that follow
 * @throws what the piece throws (rejects)
 */
export async function inTurn<Result> (piece: () => Result | Promise<Result>): Promise<Result> {
  const before = last
  let done = (): void => {}
  last = new Promise(resolve => { done = resolve })
  await before
  let result: Result | Promise<Result>
  try {
    if (performance.now() - turnBegan > MOST_MS) {
      await nextTurn()
      turnBegan = performance.now()
    }
    result = piece()
  } finally {
    done()
  }
  return await result
}
