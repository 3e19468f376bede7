import { PollPace } from './poll-pace.ts'

interface ProcessWidePace { daybreakPollPace?: PollPace }

/**
 * The process' pace of Dawn's looks for finished work.
 *
 * Dawn's binding has no thread that waits. While anything is pending it looks on every turn of the event loop, and for every look it
 * makes a function, with a finalizer, which it hands to the global `setImmediate` (src/dawn/node/binding/AsyncRunner.cpp). Looking
 * costs little; collecting those functions costs a tenth of the time, in pauses of 10 to 30 ms, because V8 frees what has a
 * finalizer only when it marks the whole heap. Dawn reads `setImmediate` anew each time, so a replacement decides when the function
 * is called; everybody else's callbacks pass through.
 */
export function dawnPolls (): PollPace {
  const holder: typeof globalThis & ProcessWidePace = globalThis
  if (holder.daybreakPollPace !== undefined) return holder.daybreakPollPace
  const turn = globalThis.setImmediate
  const never = new Int32Array(new SharedArrayBuffer(4))
  const pace = new PollPace({
    now: () => performance.now(),
    turn,
    after: (ms, callback) => setTimeout(callback, ms),
    sleep: ms => { Atomics.wait(never, 0, 0, ms) }
  })
  globalThis.setImmediate = new Proxy(turn, {
    apply: (target, self, [callback, ...rest]: [() => void, ...unknown[]]) =>
      isDawns(callback) ? pace.ask(callback) : Reflect.apply(target, self, [callback, ...rest])
  })
  holder.daybreakPollPace = pace
  return pace
}

/** True for native functions without name and parameters, such as Dawn makes. Another's would merely be called a little later. */
function isDawns (callback: unknown): callback is () => void {
  return typeof callback === 'function' && callback.length === 0 && callback.name === '' &&
    Function.prototype.toString.call(callback).endsWith('{ [native code] }')
}
