import { setFlagsFromString } from 'node:v8'

const singleScavenger = '--no-parallel-scavenge'

/**
 * Node's flags for a process that drives an engine. Each step leaves some wrappers of the binding's that a scavenge must copy, so a
 * large young generation means rare scavenges of 10 ms; of 1 MiB each, they take less than 1 ms, and a step's device time hides that.
 * So little is copied faster than other threads can be waited for.
 */
export const engineNodeFlags: readonly string[] = ['--max-semi-space-size=1', singleScavenger]

/** The same for this process. It runs already: a young generation that has grown stays as it is. */
export function keepYoungGenerationSmall (): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString(singleScavenger)
}
