import type { ForwardBatch, SampledToken, StepResult } from '@daybreak/engine/contract'
import { invariant } from './errors.ts'
import type { PlannedForward } from './step-plan.ts'

/** What a planned forward came to. */
export interface ForwardResult { readonly forward: PlannedForward; readonly sampled: SampledToken | undefined }

/** Plans of the steps handed out and not yet completed, oldest first. */
export class StepsInFlight {
  readonly #steps: Array<{ readonly step: number; readonly forwards: readonly PlannedForward[] }> = []

  add (step: number, forwards: readonly PlannedForward[]): void {
    this.#steps.push({ step, forwards })
  }

  get size (): number {
    return this.#steps.length
  }

  /** Pairs the oldest step's plan with its result. @throws SchedulerInvariantError when they do not belong together. */
  take (batch: ForwardBatch, result: StepResult): ForwardResult[] {
    const oldest = this.#steps.shift()
    invariant(oldest !== undefined && oldest.step === batch.step, 'steps complete in the order they were scheduled', { step: batch.step })
    let numSampled = 0
    const results = oldest.forwards.map(forward => {
      if (!forward.samples) return { forward, sampled: undefined }
      const token = result.sampled[numSampled++]
      if (token?.id !== forward.sequence.id) invariant(false, 'one sampled token for each sequence that samples, in order', { id: forward.sequence.id })
      return { forward, sampled: token }
    })
    invariant(numSampled === result.sampled.length, 'more sampled tokens than sequences that sample', { step: batch.step })
    return results
  }

  /** Samples of a sequence on their way. */
  numSamplesOf (sequence: PlannedForward['sequence']): number {
    return this.#steps.flatMap(({ forwards }) => forwards).filter(forward => forward.samples && forward.sequence === sequence).length
  }
}
