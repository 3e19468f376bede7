import type { SchedulerConfig } from './config.ts'
import type { Residency } from './residency.ts'
import type { Sequence } from './sequence.ts'
import type { StepPlan } from './step-plan.ts'

/**
 * Gives what the decodes have left of the step to prompts: first those already begun, then new ones. All in order.
 * @param background whether to plan background work, or all other
 */
export function planPrefills (residency: Residency, plan: StepPlan, background: boolean, config: SchedulerConfig): void {
  if (plan.isFull) return
  for (const sequence of residency.running) {
    if (plan.isFull) return
    // Decodes are in the step already.
    if (sequence.group.background === background && !sequence.group.paused && !sequence.isDecode) planChunk(sequence, plan, config)
  }
  for (const sequence of residency.waiting) {
    if (plan.isFull) return
    if (sequence.group.background !== background || sequence.group.paused) continue
    if (!sequence.swapped && (awaitsSibling(sequence) || residency.prefixes.isComputedByOther(sequence))) continue
    // Nobody overtakes: whoever is next in order gets the next blocks, and so is never starved by smaller ones.
    // A preempted sequence whose newest token is in flight, or whose blocks are, is next as soon as these have come.
    if (residency.mustWait(sequence) || !admitMakingRoom(sequence, residency, plan)) return
    planChunk(sequence, plan, config)
  }
}

/** Adds as much of the sequence's known tokens as the step still takes. */
function planChunk (sequence: Sequence, plan: StepPlan, config: SchedulerConfig): void {
  const { group, numComputed: start } = sequence
  const isScored = sequence.scoring && !sequence.isPromptComputed
  let numTokens = Math.min(sequence.numRemaining, plan.tokensLeft, config.maxPrefillChunk)
  // Every scored position takes a logits row; at the prompt's end the last takes it for sampling instead.
  if (isScored) numTokens = Math.min(numTokens, group.numPromptTokens - start, plan.logitRowsLeft)
  if (numTokens <= 0) return
  const end = start + numTokens
  plan.add({
    sequence,
    start,
    numTokens,
    samples: !sequence.samplesNothing && end === sequence.length,
    numScores: isScored ? Math.min(end, group.numPromptTokens - 1) - start : undefined
  })
}

/** Its prompt is another choice's to compute; then it forks, or computes for itself if that choice goes away. */
function awaitsSibling (sequence: Sequence): boolean {
  const { group } = sequence
  if (sequence === group.leader) return false
  // Where nothing is sampled the prompt is all there is, and one choice computes it.
  return sequence.samplesNothing || group.forkSource(sequence) === undefined
}

/**
 * Admits, at the cost of prefixes kept for those behind it, of background work where this is none, and of sequences whose readers
 * have paused: their blocks and rows do nobody good. One of the last a step while others make progress, as these may soon give
 * back enough; all if otherwise nothing would run.
 */
function admitMakingRoom (sequence: Sequence, residency: Residency, plan: StepPlan): boolean {
  for (let madeRoom = false; !residency.admit(sequence); madeRoom = true) {
    if (residency.hasFreeRow && giveUpPrefixes(sequence, residency)) continue
    const behind = sequence.group.background ? undefined : residency.running.findLast(({ group }) => group.background)
    if (behind !== undefined) {
      residency.preempt(behind, sequence)
      continue
    }
    const paused = residency.running.findLast(({ group }) => group.paused)
    if (paused === undefined || (madeRoom && !plan.isEmpty)) return false
    residency.preempt(paused, sequence)
  }
  return true
}

/** Where nothing runs, also the prefix that the sequence itself would share: beside it a prompt as large as the cache has no room. */
function giveUpPrefixes (sequence: Sequence, { prefixes, running }: Residency): boolean {
  return prefixes.makeRoom(sequence) || (running.size === 0 && prefixes.releaseAll())
}
