import type { RandomStream } from '../random-stream.ts'

export interface ArrivalProcess {
  /** Requests per second; Infinity sends all of them at once. */
  readonly requestRate: number
  /** Shape of the gamma distribution of the gaps: 1 is a Poisson process, less is burstier, more is steadier. */
  readonly burstiness: number
}

/**
 * When to send each request, in seconds from the start, ascending. The schedule is made before the run and scaled so that the
 * last request leaves at exactly `numRequests / requestRate`: the offered rate is the one asked for, whatever the draw.
 */
export function arrivalSchedule (numRequests: number, process: ArrivalProcess, random: RandomStream): Float64Array {
  const arrivals = new Float64Array(numRequests)
  if (process.requestRate === Infinity) return arrivals
  let time = 0
  for (let i = 0; i < numRequests; i++) arrivals[i] = time += random.gamma(process.burstiness)
  const scale = numRequests / process.requestRate / time
  return time > 0 ? arrivals.map(arrival => arrival * scale) : arrivals
}
