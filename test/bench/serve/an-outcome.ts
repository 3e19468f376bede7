import type { RequestOutcome } from '../../../apps/server/src/bench/serve/request-outcome.ts'

/** A successful request that started at 0, with its parts as given; latency follows from TTFT and the gaps. */
export function anOutcome (parts: Partial<RequestOutcome> = {}): RequestOutcome {
  const ttft = parts.ttft ?? 0.1
  const itls = parts.itls ?? [0.02, 0.02, 0.02]
  return {
    error: undefined,
    promptTokens: 10,
    outputTokens: itls.length + 1,
    hasUsage: true,
    startTime: 0,
    queueSeconds: 0,
    ttft,
    firstTextSeconds: ttft,
    itls,
    latency: itls.reduce((sum, gap) => sum + gap, ttft),
    text: 'text',
    ...parts
  }
}
