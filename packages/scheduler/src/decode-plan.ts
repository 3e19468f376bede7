import { invariant } from './errors.ts'
import type { Residency } from './residency.ts'
import type { Sequence } from './sequence.ts'
import type { StepPlan } from './step-plan.ts'

/**
 * Puts every runnable decode into the step, in order, of background work as many as it may have. When one finds no block to grow into, prefixes that are only kept give theirs
 * up, and then sequences behind it, the last first; so the first in order never does.
 *
 * @param background whether to plan background work, or all other
 * @param onExhausted ends a sequence that has been preempted `maxPreemptions` times already
 */
export function planDecodes (
  residency: Residency, plan: StepPlan, background: boolean, maxPreemptions: number, onExhausted: (sequence: Sequence) => void
): void {
  for (const sequence of residency.running) {
    const { isDecode } = sequence
    // There is always room for all, unless background work is kept short.
    if (plan.isFull) return
    if (!holdsBlocks(sequence) || sequence.group.paused || !isDecode || sequence.group.background !== background) continue
    while (residency.kvCache.grow(sequence.id, sequence.numComputed + 1) === undefined) {
      if (residency.prefixes.makeRoom() || (residency.running.size === 1 && residency.prefixes.releaseAll())) continue
      const victim = lastToServe(residency, sequence)
      const counts = !victim.group.background || background
      if (counts && victim.numPreemptions >= maxPreemptions) onExhausted(victim)
      else residency.preempt(victim, sequence)
      if (victim === sequence) break
    }
    if (holdsBlocks(sequence)) plan.add({ sequence, start: sequence.numComputed, numTokens: 1, samples: true, numScores: undefined })
  }
}

/** Whoever is served last gives way; before a sequence gives way itself, one whose reader has paused does. */
function lastToServe (residency: Residency, growing: Sequence): Sequence {
  const last = residency.running.findLast(() => true)
  if (last !== undefined && last !== growing) return last
  const paused = residency.running.findLast(({ group }) => group.paused)
  invariant(residency.running.size > 1, 'a sequence alone in the KV cache outgrew it', { id: growing.id })
  return paused ?? growing
}

/** Asked anew after every preemption, which may have been its own. */
function holdsBlocks (sequence: Sequence): boolean {
  return sequence.phase === 'running'
}
