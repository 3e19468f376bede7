import type { TokenId } from '@daybreak/kvcache'
import type { FinishReason, GenerationEvent } from '@daybreak/scheduler'
import { ApiError, fromEngineError, toApiError } from '../errors.ts'
import type { GenerationService } from '../generation/generation-service.ts'
import type { AbortCause, GenerationObserver, RequestPhase } from '../telemetry/generation-observer.ts'
import { monotonicSeconds } from '../telemetry/monotonic-seconds.ts'
import type { TextService } from '../text/text-service.ts'
import { ChoiceRun, finishedChoice } from './choice-run.ts'
import { ChoiceText } from './choice-text.ts'
import { echoedPrompt } from './echoed-prompt.ts'
import type { GenerationOutput } from './generation-output.ts'
import type { GenerationPlan, PromptPlan } from './generation-plan.ts'
import { choiceRecord } from './prompt-run.ts'
import type { PromptRun } from './prompt-run.ts'
import type { ShownFinishReason } from './response-format.ts'
import { usageObject } from './usage.ts'
import type { Usage } from './usage.ts'

export interface RunContext {
  readonly generation: GenerationService
  readonly text: TextService
  readonly observer: GenerationObserver
  /** Seconds of `monotonicSeconds` when the request arrived. */
  readonly arrivedAt: number
}

/** Why and when a run ended, for its log line. */
export interface RunSummary {
  readonly reason: FinishReason
  readonly usage: Usage
  readonly ttftSeconds: number | undefined
}

/**
 * One request from admission to its last byte: consumes the events of its prompts' streams, turns them into text and hands
 * chunks to an output. All prompts and choices of the request write to the same output; a fault in one fails them all.
 */
export class GenerationRun {
  readonly #plan: GenerationPlan
  readonly #context: RunContext
  readonly #prompts: PromptRun[] = []
  readonly #stopTokens: ReadonlySet<TokenId>
  readonly #output: GenerationOutput
  /** Set once: everything that arrives later is ignored. */
  #ended: FinishReason | undefined
  #error: ApiError | undefined
  #wake: () => void = () => {}
  #firstTokenAt: number | undefined
  #numTokens = 0

  /** Queues every prompt. @throws whatever `GenerationService.generate` throws, with nothing left queued. */
  constructor (plan: GenerationPlan, context: RunContext, output: GenerationOutput) {
    this.#plan = plan
    this.#context = context
    this.#output = output
    this.#stopTokens = new Set(plan.stopTokens)
    try {
      plan.prompts.forEach((prompt, i) => this.#prompts.push(this.#queue(prompt, i)))
    } catch (error) {
      for (const { stream } of this.#prompts) stream.abort()
      throw error
    }
    context.observer.requestStarted({ numChoices: plan.numChoices })
  }

  get phase (): RequestPhase {
    if (this.#firstTokenAt !== undefined) return 'decode'
    return this.#prompts.some(prompt => prompt.scheduledAt !== undefined) ? 'prefill' : 'queued'
  }

  /** Why there is no whole answer, once the run has ended without one; a client that left has no error. */
  get error (): ApiError | undefined { return this.#error }
  get aborted (): boolean { return this.#ended === 'abort' }

  get summary (): RunSummary {
    return {
      reason: this.#ended ?? 'abort',
      usage: this.#usage(),
      ttftSeconds: this.#firstTokenAt === undefined ? undefined : this.#firstTokenAt - this.#context.arrivedAt,
    }
  }

  pause (): void { for (const { stream } of this.#prompts) stream.pause() }
  resume (): void { for (const { stream } of this.#prompts) stream.resume() }

  /** Frees everything the request holds. With an `error` the output hears of it; without one nobody is left to. */
  abort (cause: AbortCause, error?: ApiError): void {
    if (this.#ended !== undefined) return
    this.#context.observer.requestAborted(this.phase, cause)
    this.#end('abort', error)
  }

  /** Resolves when every choice has finished, the engine has failed one, or the run was aborted; never rejects. */
  async finished (): Promise<void> {
    const aborted = new Promise<void>(resolve => { this.#wake = resolve })
    try {
      await Promise.race([aborted, Promise.all(this.#prompts.map(prompt => this.#consume(prompt)))])
    } catch (cause) {
      if (this.#ended === undefined) this.#end('error', toApiError(cause))
    }
    if (this.#ended !== undefined) return
    this.#ended = this.#prompts[0]?.choices[0]?.finished ?? 'stop'
    if (this.#plan.stream && this.#plan.streamUsage !== 'none') this.#output.chunk(this.#plan.format.usageChunk(this.#usage()))
    this.#output.end()
  }

  /** The response as one object, after `finished`. */
  whole (): object {
    const choices = this.#prompts.flatMap(prompt => prompt.choices.map(choice => finishedChoice(choice, this.#plan.collectLogprobs)))
    return this.#plan.format.whole(choices, this.#usage())
  }

  #queue (plan: PromptPlan, promptIndex: number): PromptRun {
    const { text, generation } = this.#context
    const { skipSpecialTokens, numChoices, stop, collectLogprobs } = this.#plan
    const queuedAt = monotonicSeconds()
    const stream = generation.generate({
      id: `${this.#plan.id}-${promptIndex}`,
      promptTokens: plan.tokens,
      choices: plan.sampling.map(sampling => ({ sampling, outputTokens: [] })),
      maxTokens: plan.maxTokens,
      stopTokens: this.#plan.stopTokens,
      priority: this.#plan.priority,
      promptLogprobs: this.#plan.promptLogprobs,
      background: this.#plan.background,
      prefixGroup: this.#plan.prefixGroup,
    })
    const choices = plan.sampling.map((_, i) => new ChoiceRun(promptIndex * numChoices + i, new ChoiceText({
      detokenizer: text.detokenizer({ skipSpecialTokens }), stop, collectLogprobs, echo: plan.echo,
    })))
    return { plan, stream, choices, queuedAt, scheduledAt: undefined, cachedTokens: 0, numOpen: choices.length }
  }

  async #consume (prompt: PromptRun): Promise<void> {
    for await (const events of prompt.stream) {
      if (this.#ended !== undefined) return
      const now = monotonicSeconds()
      const numTokens = this.#numTokens
      for (const event of events) this.#handle(event, prompt, now)
      if (this.#numTokens !== numTokens) this.#context.observer.tokensGenerated(this.#numTokens - numTokens)
      if (this.#plan.stream) this.#output.flush()
      if (prompt.numOpen === 0) return
    }
    if (this.#ended === undefined) throw new ApiError('internal_error', 'The engine ended the stream early.')
  }

  #handle (event: GenerationEvent, prompt: PromptRun, now: number): void {
    switch (event.type) {
      case 'scheduled':
        if (prompt.scheduledAt !== undefined) return
        prompt.scheduledAt = now
        prompt.cachedTokens = event.cachedTokens
        return this.#context.observer.promptScheduled({ promptTokens: prompt.plan.tokens.length, cachedTokens: event.cachedTokens })
      case 'prompt-scores': {
        if (prompt.plan.echo === '') return
        const entries = echoedPrompt(prompt.plan.tokens, event.scores, prompt.plan.echo, this.#context.text)
        for (const choice of prompt.choices) choice.text.addPromptLogprobs(entries)
        return
      }
      case 'token': {
        const choice = prompt.choices[event.choice]
        if (choice !== undefined && choice.finished === undefined) this.#token(event, choice, prompt, now)
        return
      }
      case 'finish': {
        const choice = prompt.choices[event.choice]
        if (choice === undefined || choice.finished !== undefined) return
        if (event.reason === 'error') throw fromEngineError(event.error)
        if (event.reason === 'abort') throw new ApiError('service_unavailable', 'The server stopped this generation.')
        const named = event.stopToken !== undefined && this.#plan.callerStopTokens.includes(event.stopToken)
        return this.#finish(choice, prompt, event.reason, named ? event.stopToken ?? null : null, now)
      }
      default:
        event satisfies never
    }
  }

  #token (event: GenerationEvent & { type: 'token' }, choice: ChoiceRun, prompt: PromptRun, now: number): void {
    this.#numTokens++
    choice.numTokens++
    if (choice.lastTokenAt === undefined) {
      choice.firstTokenAt = now
      this.#firstTokenAt ??= now
      this.#context.observer.firstToken(now - this.#context.arrivedAt)
    } else if (now > choice.lastTokenAt) {
      this.#context.observer.interToken(now - choice.lastTokenAt)
    }
    choice.lastTokenAt = now
    // Its text is not part of the answer; the finish event follows.
    if (this.#stopTokens.has(event.token)) return
    const shown = choice.text.push(event.token, event.logprob, event.topLogprobs)
    if (shown !== '') this.#show(choice, shown)
    const stop = choice.text.matchedStop
    if (stop === undefined) return
    prompt.stream.abort(event.choice)
    this.#finish(choice, prompt, 'stop', stop, now)
  }

  #show (choice: ChoiceRun, shown: string): void {
    const logprobs = choice.text.takeLogprobs()
    if (!this.#plan.stream) {
      choice.pieces.push(shown)
      if (logprobs !== undefined) choice.logprobs.push(...logprobs)
      return
    }
    this.#output.chunk(this.#plan.format.textChunk(choice.index, shown, logprobs, !choice.started, this.#chunkUsage()))
    choice.started = true
  }

  #finish (choice: ChoiceRun, prompt: PromptRun, reason: ShownFinishReason, stopReason: string | number | null, now: number): void {
    const rest = choice.text.flush()
    // A stop string can surface in what an incomplete character was holding back.
    const stop = choice.text.matchedStop
    choice.finished = stop === undefined ? reason : 'stop'
    choice.stopReason = stop ?? stopReason
    prompt.numOpen--
    if (rest !== '' || choice.text.hasLogprobs) this.#show(choice, rest)
    if (this.#plan.stream) {
      this.#output.chunk(this.#plan.format.finishChunk(choice.index, finishedChoice(choice, this.#plan.collectLogprobs), !choice.started, this.#chunkUsage()))
      choice.started = true
    }
    this.#record(choice, prompt, choice.finished, now)
  }

  /** Ends the run for good: frees what is left of it and records its unfinished choices. */
  #end (reason: 'abort' | 'error', error: ApiError | undefined): void {
    this.#ended = reason
    this.#error = error
    const now = monotonicSeconds()
    for (const prompt of this.#prompts) {
      prompt.stream.abort()
      for (const choice of prompt.choices) {
        if (choice.finished === undefined) this.#record(choice, prompt, reason, now)
      }
    }
    if (error !== undefined) this.#output.fail(error)
    this.#wake()
  }

  #record (choice: ChoiceRun, prompt: PromptRun, reason: FinishReason, finishedAt: number): void {
    this.#context.observer.choiceFinished(choiceRecord(choice, prompt, { reason, arrivedAt: this.#context.arrivedAt, finishedAt }))
  }

  #usage (): Usage {
    return {
      promptTokens: this.#prompts.reduce((sum, { plan }) => sum + plan.tokens.length, 0),
      cachedTokens: this.#prompts.reduce((sum, { cachedTokens }) => sum + cachedTokens, 0),
      completionTokens: this.#numTokens,
    }
  }

  #chunkUsage (): string {
    switch (this.#plan.streamUsage) {
      case 'none': return ''
      case 'final': return ',"usage":null'
      case 'continuous': return `,"usage":${JSON.stringify(usageObject(this.#usage()))}`
    }
  }
}
