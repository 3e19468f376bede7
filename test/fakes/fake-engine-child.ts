/** An engine process without an engine: the real messages around a scripted stand-in. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { GenerationEvent, GenerationRequest, SchedulerStats } from '@daybreak/scheduler'
import type { TokenId } from '@daybreak/kvcache'
import { forkedProcessChannel } from '../../apps/server/src/engine-process/process-channel.ts'
import { runEngineProcess } from '../../apps/server/src/engine-process/engine-process.ts'
import type { EngineCore, EngineListener } from '../../apps/server/src/engine-process/engine-core.ts'
import type { EngineProcessConfig } from '../../apps/server/src/engine-process/protocol.ts'
import { fakeCapacity, fakeReport, FakeSteps, POISON_TOKEN } from './fake-engine-script.ts'
import { nextToken } from './fake-language.ts'

interface Choice { readonly outputTokens: TokenId[], done: boolean }
interface Entry { readonly request: GenerationRequest, readonly choices: Choice[], scheduled: boolean, paused: boolean }

class FakeCore implements EngineCore {
  readonly capacity
  readonly report
  readonly #steps: FakeSteps
  readonly #listener: EngineListener
  readonly #entries = new Map<string, Entry>()
  #numSteps = 0
  #running = false

  constructor (config: EngineProcessConfig, steps: FakeSteps, listener: EngineListener) {
    this.capacity = fakeCapacity(config)
    this.report = fakeReport(config)
    this.#steps = steps
    this.#listener = listener
  }

  get stats (): SchedulerStats {
    return {
      numRunning: this.#entries.size,
      numWaiting: 0,
      waitingTokens: 0,
      kvCacheUsage: 0,
      prefixCacheQueries: 0,
      prefixCacheHits: 0,
      promptTokensComputed: 0,
      generatedTokens: 0,
      numPreemptions: 0,
      numSteps: this.#numSteps
    }
  }

  generate (request: GenerationRequest): void {
    const choices = request.choices.map(({ outputTokens }) => ({ outputTokens: [...outputTokens], done: false }))
    this.#entries.set(request.id, { request, choices, scheduled: false, paused: false })
    void this.#loop()
  }

  abort (id: string): void { this.#entries.delete(id) }
  pause (id: string): void { const entry = this.#entries.get(id); if (entry !== undefined) entry.paused = true }
  resume (id: string): void {
    const entry = this.#entries.get(id)
    if (entry !== undefined) entry.paused = false
    void this.#loop()
  }

  async [Symbol.asyncDispose] (): Promise<void> {}

  async #loop (): Promise<void> {
    if (this.#running) return
    this.#running = true
    while ([...this.#entries.values()].some(entry => !entry.paused)) {
      await nextTurn()
      const entries = [...this.#entries.values()].filter(entry => !entry.paused)
      await this.#steps.next(entries.some(({ request }) => request.promptTokens.includes(POISON_TOKEN)))
      const events = entries.flatMap(entry => this.#advance(entry))
      this.#numSteps++
      this.#listener.onEvents(events, { numTokens: entries.length, numSequences: entries.length, hostSeconds: 0, deviceSeconds: 0 })
    }
    this.#running = false
  }

  #advance (entry: Entry): GenerationEvent[] {
    const { request } = entry
    const events: GenerationEvent[] = []
    if (!entry.scheduled) events.push({ type: 'scheduled', id: request.id, cachedTokens: 0 })
    entry.scheduled = true
    for (const [index, choice] of entry.choices.entries()) {
      if (choice.done) continue
      const token = nextToken([...request.promptTokens, ...choice.outputTokens], request.choices[index]?.sampling.seed ?? 0)
      choice.outputTokens.push(token)
      events.push({ type: 'token', id: request.id, choice: index, token, logprob: -1, topLogprobs: undefined })
      if (choice.outputTokens.length < request.maxTokens) continue
      choice.done = true
      events.push({ type: 'finish', id: request.id, choice: index, reason: 'length', stopToken: undefined, error: undefined })
    }
    if (entry.choices.every(choice => choice.done)) this.#entries.delete(request.id)
    return events
  }
}

runEngineProcess(async (config, listener) => {
  const steps = new FakeSteps(config)
  await steps.load(listener)
  return new FakeCore(config, steps, listener)
}, forkedProcessChannel())
