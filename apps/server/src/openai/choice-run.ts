import type { FinishReason } from '@daybreak/scheduler'
import type { ChoiceText } from './choice-text.ts'
import type { LogprobEntry } from './logprobs.ts'
import type { FinishedChoice } from './response-format.ts'

/** What is known of one choice while it is generated; owned and changed by its GenerationRun alone. */
export class ChoiceRun {
  readonly index: number
  readonly text: ChoiceText
  numTokens = 0
  firstTokenAt: number | undefined
  lastTokenAt: number | undefined
  finished: FinishReason | undefined
  stopReason: string | number | null = null
  /** Whether a chunk went out, so that the role is sent once. */
  started = false
  /** Collected only when the response is sent whole. */
  readonly pieces: string[] = []
  readonly logprobs: LogprobEntry[] = []

  constructor (index: number, text: ChoiceText) {
    this.index = index
    this.text = text
  }
}

export function finishedChoice (choice: ChoiceRun, collectLogprobs: boolean): FinishedChoice {
  return {
    index: choice.index,
    text: choice.pieces.join(''),
    logprobs: collectLogprobs ? choice.logprobs : undefined,
    finishReason: choice.finished === 'length' ? 'length' : 'stop',
    stopReason: choice.stopReason,
  }
}
