import type { GenerationObserver } from './generation-observer.ts'

/**
 * What is told of generations that nobody waits for: their tokens, which are work like any other. Their times say nothing about how
 * long clients wait, and would hide what does.
 */
export function backgroundObserver (observer: Pick<GenerationObserver, 'promptScheduled' | 'tokensGenerated'>): GenerationObserver {
  const nothing = (): void => {}
  return {
    promptScheduled: prompt => observer.promptScheduled(prompt),
    tokensGenerated: count => observer.tokensGenerated(count),
    requestStarted: nothing,
    firstToken: nothing,
    interToken: nothing,
    choiceFinished: nothing,
    requestAborted: nothing
  }
}
