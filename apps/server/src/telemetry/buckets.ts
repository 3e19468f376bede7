/** Histogram bounds as vLLM's dashboards and rules expect them (vllm/v1/metrics/loggers.py). Seconds unless said otherwise. */

export const timeToFirstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
]

export const interTokenBuckets = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80]

export const requestLatencyBuckets = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]

/** Tokens of one engine step. */
export const iterationTokenBuckets = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]

/** Choices of one request. */
export const choiceCountBuckets = [1, 2, 5, 10, 20]

/** Our own: time of one engine step. */
export const stepBuckets = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]

/** Token counts: 1, 2, 5, 10, … up to the longest sequence. */
export function tokenCountBuckets (maxModelLen: number): number[] {
  const bounds: number[] = []
  for (let decade = 1; decade <= maxModelLen; decade *= 10) {
    bounds.push(...[decade, 2 * decade, 5 * decade].filter(bound => bound <= maxModelLen))
  }
  return bounds
}
