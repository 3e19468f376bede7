import { tpotOf } from './request-outcome.ts'
import type { RequestOutcome } from './request-outcome.ts'

export const OBJECTIVES = Object.freeze(['ttft', 'tpot', 'e2el'] as const)
export type Objective = typeof OBJECTIVES[number]

/** Latency bounds in milliseconds. */
export type Objectives = ReadonlyMap<Objective, number>

/**
 * Reads vLLM's `ttft:500 tpot:50 e2el:5000`.
 * @throws RangeError for anything else, naming the part
 */
export function parseObjectives (parts: readonly string[]): Objectives {
  return new Map(parts.map(part => {
    const [name = '', bound = '', ...rest] = part.split(':')
    const objective = OBJECTIVES.find(known => known === name)
    const milliseconds = Number(bound)
    if (objective === undefined || rest.length > 0 || bound === '' || !(milliseconds >= 0 && milliseconds < Infinity)) {
      throw new RangeError(`goodput ${JSON.stringify(part)} is not one of ${OBJECTIVES.join(', ')}, a colon, and milliseconds`)
    }
    return [objective, milliseconds]
  }))
}

/** Whether a request that succeeded met every bound; a single output token has a TPOT of 0. */
export function meetsObjectives (outcome: RequestOutcome, objectives: Objectives): boolean {
  const seconds: Record<Objective, number> = { ttft: outcome.ttft, tpot: tpotOf(outcome) ?? 0, e2el: outcome.latency }
  return [...objectives].every(([objective, bound]) => seconds[objective] * 1000 <= bound)
}
