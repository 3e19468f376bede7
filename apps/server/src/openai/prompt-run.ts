import type { FinishReason } from '@daybreak/scheduler'
import type { GenerationStream } from '../generation/generation-service.ts'
import type { ChoiceRecord } from '../telemetry/generation-observer.ts'
import type { ChoiceRun } from './choice-run.ts'
import type { PromptPlan } from './generation-plan.ts'

/** One prompt of a request with its stream of events and its choices; owned and changed by its GenerationRun alone. */
export interface PromptRun {
  readonly plan: PromptPlan
  readonly stream: GenerationStream
  readonly choices: readonly ChoiceRun[]
  readonly queuedAt: number
  scheduledAt: number | undefined
  cachedTokens: number
  /** Choices that have not finished. */
  numOpen: number
}

/** What telemetry hears of a choice when it ends. */
export function choiceRecord (choice: ChoiceRun, prompt: PromptRun, end: { readonly reason: FinishReason, readonly arrivedAt: number, readonly finishedAt: number }): ChoiceRecord {
  return {
    ...end,
    promptTokens: prompt.plan.tokens.length,
    cachedTokens: prompt.cachedTokens,
    generatedTokens: choice.numTokens,
    maxTokens: prompt.plan.maxTokens,
    queuedAt: prompt.queuedAt,
    scheduledAt: prompt.scheduledAt,
    firstTokenAt: choice.firstTokenAt,
    lastTokenAt: choice.lastTokenAt,
  }
}
