import type { ForwardBatch, HostTier, ModelRunner, RunnerLimits, ScoredToken, SampledToken, StepResult, TokenHistory, TokenLogprob } from './contract.ts'
import { DeviceTime } from './device/device-time.ts'
import type { GpuDevice } from './device/gpu-device.ts'
import { InOrder } from './device/in-order.ts'
import { LossWatch } from './device/loss-watch.ts'
import { ReadbackRing } from './device/readback.ts'
import { StepEstimate } from './device/step-estimate.ts'
import { profileList } from './device/pass-profiler.ts'
import type { KernelTime } from './engine.ts'
import { DeviceLostError, InvalidBatchError, StalledLayerError, UnsupportedModelError } from './errors.ts'
import { CommandList } from './kernels/command-list.ts'
import type { KVStorage } from './kv-storage.ts'
import type { KVSwap } from './kv-swap.ts'
import type { ActivationBuffers } from './layers/activation-buffers.ts'
import { isStalled } from './layers/stall-mark.ts'
import type { StallMark } from './layers/stall-mark.ts'
import type { StepInputs, StepPacker, StepShape } from './step-inputs.ts'
import { resultWords } from './step-inputs.ts'
import { StepTimer } from './device/step-timer.ts'

/** Batches that may be on their way at once; one more than the intended depth, so that a late reader never stops the queue. */
const MAX_IN_FLIGHT = 4
/** Recorded lists kept. Shapes repeat, and a list costs a few hundred entries. */
const MAX_LISTS = 256

interface RecordedStep {
  readonly list: CommandList
  readonly estimate: StepEstimate
  readonly deviceTime: DeviceTime
  readonly stallMark: StallMark | undefined
}

/** A step on its way. */
interface SubmittedStep {
  /** Of its results, at the beginning of `data`; its timestamps follow, if it was timed, those of its swaps, and whether a layer stalled. */
  readonly bytes: number
  readonly isTimed: boolean
  readonly mayStall: boolean
  /** Undefined: it computes nothing. */
  readonly deviceTime: DeviceTime | undefined
  /** Comes when all that the step computes and copies has. */
  readonly data: Promise<ArrayBuffer>
  readonly swap: KVSwap | undefined
  /** Milliseconds for which the thread was busy: altogether, and until its swaps were submitted. */
  readonly hostMs: number
  readonly swapHostMs: number
  readonly startedAt: number
  readonly submittedAt: number
}

export interface RunnerParts {
  readonly device: GpuDevice
  readonly limits: RunnerLimits
  readonly packer: StepPacker
  readonly buffers: Pick<ActivationBuffers, 'step' | 'results' | 'counts'>
  readonly kv: Pick<KVStorage, 'encodeMoves'>
  /** Undefined: batches have no swaps. */
  readonly swap?: KVSwap | undefined
  /** Records the whole forward pass of a step, sampling included. */
  readonly record: (list: CommandList, shape: StepShape) => void
  /** What a step of this shape marks when a layer stalls; undefined: none can. */
  readonly stallMark?: (shape: StepShape) => StallMark | undefined
  /** Called before a stall becomes an error. */
  readonly onStall?: () => Promise<void>
}

/** Bytes that a stall's mark takes at the very end of a readback. */
const MARK_BYTES = 8

/**
 * Runs steps on one device: pack, one upload, one pass, one submit, one small readback. Steps with swaps submit these first. `execute` encodes and submits before it
 * returns its promise, so a second batch may be handed over while the first one runs. Only a step whose swap-ins find too few upload
 * buffers is submitted later, and what comes after it waits its turn.
 */
export class GpuModelRunner implements ModelRunner {
  readonly limits: RunnerLimits
  /** Set when it has been measured. */
  hostTier: HostTier | undefined
  readonly #parts: RunnerParts
  readonly #recorded = new Map<string, RecordedStep>()
  #last: RecordedStep | undefined
  readonly #readback: ReadbackRing
  readonly #timer: StepTimer
  readonly #order = new InOrder()
  readonly #loss: LossWatch

  constructor (parts: RunnerParts) {
    this.#parts = parts
    this.limits = parts.limits
    this.#timer = new StepTimer(parts.device)
    this.#readback = new ReadbackRing(parts.device.device, this.#resultBytes(parts.limits.maxLogitRows) + 2 * StepTimer.bytes + MARK_BYTES, MAX_IN_FLIGHT)
    this.#loss = new LossWatch(parts.device.lost)
  }

  /** @throws InvalidBatchError, DeviceLostError, StalledLayerError */
  async execute (batch: ForwardBatch): Promise<StepResult> {
    const submitting = this.#order.run(() => this.#swapAndSubmit(batch))
    const step = submitting instanceof Promise ? await this.#loss.orLost(submitting) : submitting
    const data = await step.data
    const problem = this.#parts.device.takeErrors()[0]
    if (problem !== undefined) throw new DeviceLostError({ reason: 'error', message: problem })
    if (step.mayStall && new Uint32Array(data, step.bytes + 2 * StepTimer.bytes, 1)[0] !== 0) {
      await this.#parts.onStall?.()
      throw new StalledLayerError({ step: batch.step })
    }
    const secondsSince = (ms: number): number => (performance.now() - ms) / 1000
    const result = {
      ...readResults(batch, new Uint32Array(data, 0, step.bytes / 4)),
      deviceSeconds: step.deviceTime === undefined ? 0 : step.deviceTime.take(step.isTimed ? this.#timer.seconds(data, step.bytes) : undefined) ?? secondsSince(step.submittedAt),
      hostSeconds: step.hostMs / 1000
    }
    if (step.swap === undefined) return result
    // Without timestamps, the step counts as if it had done nothing else: too long, which costs nobody a wait.
    const swapSeconds = step.swap.seconds(data, step.bytes + StepTimer.bytes) ?? secondsSince(step.startedAt)
    return { ...result, swapSeconds: Math.max(swapSeconds, step.swapHostMs / 1000) }
  }

  /**
   * Runs a batch's kernels one by one and times them: for benches, never between steps that are in flight. What it samples is
   * written to the batch's state rows as usual and not reported.
   * @throws InvalidBatchError; UnsupportedModelError where the adapter has no timestamps
   */
  async profile (batch: ForwardBatch): Promise<KernelTime[]> {
    const { device, packer, buffers } = this.#parts
    if (!device.capabilities.timestamps) throw new UnsupportedModelError({ field: 'profile', value: true, supported: 'adapters with timestamp queries' })
    const { shape, words } = packer.pack(batch)
    device.queue.writeBuffer(buffers.step, 0, words)
    const { list, stallMark } = this.#record(shape)
    const times = await profileList(device, list)
    if (stallMark !== undefined && await isStalled(device, stallMark)) throw new StalledLayerError({ step: batch.step })
    return times
  }

  /** Has steps recorded anew: what `record` does has changed. Never while steps are in flight. */
  forgetRecorded (): void {
    this.#recorded.clear()
    this.#last = undefined
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#parts.device[Symbol.asyncDispose]()
  }

  /** Not at once where swaps wait for the device. @throws InvalidBatchError, DeviceLostError */
  #swapAndSubmit (batch: ForwardBatch): SubmittedStep | Promise<SubmittedStep> {
    const startedAt = performance.now()
    if (this.#loss.error !== undefined) throw this.#loss.error
    const packed = batch.sequences.length === 0 ? undefined : this.#parts.packer.pack(batch)
    const swap = this.#swapOf(batch)
    const readback = this.#readback.take()
    if (readback === undefined) throw new InvalidBatchError({ step: batch.step, problem: `${MAX_IN_FLIGHT} batches are already in flight` })
    const checkedAt = performance.now()
    const swapping = swap?.submit(batch)
    const submit = (freeMs: number): SubmittedStep => {
      if (this.#loss.error !== undefined) throw this.#loss.error
      const swapHostMs = performance.now() - checkedAt - freeMs
      const submitted = this.#submit(batch, packed, swap, readback)
      const submittedAt = performance.now()
      return { ...submitted, swap, startedAt, swapHostMs, submittedAt, hostMs: submittedAt - startedAt - freeMs }
    }
    return swapping === undefined ? submit(0) : swapping.then(submit)
  }

  /** Submits all but the swaps, and has the results read. */
  #submit (batch: ForwardBatch, packed: StepInputs | undefined, swap: KVSwap | undefined, readback: GPUBuffer): Pick<SubmittedStep, 'bytes' | 'isTimed' | 'mayStall' | 'deviceTime' | 'data'> {
    const { device, buffers, kv } = this.#parts
    if (packed !== undefined) device.queue.writeBuffer(buffers.step, 0, packed.words)
    for (const sequence of batch.sequences) {
      if (sequence.history !== undefined) this.#writeHistory(sequence.stateRow, sequence.history)
    }
    const encoder = device.device.createCommandEncoder({ label: 'step' })
    swap?.encodeEnd(encoder, batch.step)
    kv.encodeMoves(encoder, batch.moves)
    let bytes = 0
    let isTimed = false
    let estimate = new StepEstimate()
    const recorded = packed === undefined ? undefined : this.#record(packed.shape)
    const mayStall = recorded?.stallMark !== undefined
    if (packed !== undefined && recorded !== undefined) {
      isTimed = recorded.deviceTime.next(recorded === this.#last, swap === undefined && batch.moves.length === 0)
      this.#last = recorded
      const pass = encoder.beginComputePass(isTimed ? this.#timer.passDescriptor(batch.step) : { label: 'step' })
      recorded.list.replay(pass)
      pass.end()
      bytes = this.#resultBytes(packed.shape.logitRows)
      if (bytes > 0) encoder.copyBufferToBuffer(buffers.results, 0, readback, 0, bytes)
      if (isTimed) this.#timer.resolve(encoder, batch.step, readback, bytes)
      if (recorded.stallMark !== undefined) encoder.copyBufferToBuffer(recorded.stallMark.buffer, recorded.stallMark.offset, readback, bytes + 2 * StepTimer.bytes, MARK_BYTES)
      // With swaps it takes longer than others of its shape, and they would be waited for as long.
      if (swap === undefined) estimate = recorded.estimate
    }
    swap?.resolve(encoder, batch.step, readback, bytes + StepTimer.bytes)
    device.queue.submit([encoder.finish()])
    const arrival = swap?.arrival(batch.swapOuts ?? [])
    // Where a step only copies, and has no timestamps, nothing that is read waits for it.
    const done = packed === undefined ? device.queue.onSubmittedWorkDone() : undefined
    const all = this.#loss.orLost(Promise.all([this.#readback.read(readback, bytes + 2 * StepTimer.bytes + (mayStall ? MARK_BYTES : 0), estimate), arrival, done]))
    const data = all.then(([read]) => read)
    // Who waits for a step that was late may have heard of a loss before it was submitted.
    data.catch(() => {})
    return { bytes, isTimed, mayStall, deviceTime: recorded?.deviceTime, data }
  }

  /** What does the batch's swaps; undefined when it has none. @throws InvalidBatchError */
  #swapOf (batch: ForwardBatch): KVSwap | undefined {
    const { step, sequences, swapOuts = [], swapIns = [] } = batch
    if (swapOuts.length === 0 && swapIns.length === 0) {
      if (sequences.length === 0) throw new InvalidBatchError({ step, problem: 'nothing to do' })
      return undefined
    }
    const { swap } = this.#parts
    if (swap === undefined) throw new InvalidBatchError({ step, problem: 'swaps blocks, and there is no host tier' })
    swap.check(batch)
    return swap
  }

  #resultBytes (rows: number): number {
    return rows * resultWords * 4
  }

  #record (shape: StepShape): RecordedStep {
    const key = `${shape.tokens} ${shape.singles} ${shape.splits} ${shape.splitSubgroups} ${shape.groups} ${shape.groupSize} ${shape.tiles} ${shape.logitRows} ${shape.fewKeys}`
    let recorded = this.#recorded.get(key)
    if (recorded === undefined) {
      if (this.#recorded.size >= MAX_LISTS) this.#recorded.clear()
      // Tiles of prompts, by whose number they are known, may look back at any number of keys.
      recorded = { list: new CommandList(), estimate: new StepEstimate(), deviceTime: new DeviceTime(shape.tiles === 0), stallMark: this.#parts.stallMark?.(shape) }
      this.#parts.record(recorded.list, shape)
      this.#recorded.set(key, recorded)
    }
    return recorded
  }

  /** Restores the penalty counts of a state row. Rare (first step of a penalised sequence), so a dense row is simplest. */
  #writeHistory (stateRow: number, history: TokenHistory): void {
    const { vocabSize } = this.limits
    const counts = new Uint32Array(vocabSize)
    for (const token of history.outputTokens) counts[token] = (counts[token] ?? 0) + 1
    for (const token of history.promptTokens) counts[token] = ((counts[token] ?? 0) | 0x80000000) >>> 0
    this.#parts.device.queue.writeBuffer(this.#parts.buffers.counts, stateRow * vocabSize * 4, counts)
  }
}

/** Result rows in the order StepPacker wrote them: each sequence's scores, then its sample. */
function readResults ({ sequences }: ForwardBatch, words: Uint32Array): Pick<StepResult, 'sampled' | 'scored'> {
  const floats = new Float32Array(words.buffer, 0, words.length)
  const sampled: SampledToken[] = []
  const scored = new Map<SampledToken['id'], ScoredToken[]>()
  let at = 0
  for (const { id, scoreTargets, numScoreLogprobs = 0, sampling } of sequences) {
    if (scoreTargets !== undefined) {
      scored.set(id, scoreTargets.map(() => {
        const score = { token: words[at] ?? 0, logprob: floats[at + 1] ?? 0, topLogprobs: topLogprobs(words, floats, at, numScoreLogprobs) }
        at += resultWords
        return score
      }))
    }
    if (sampling === undefined) continue
    const { numLogprobs } = sampling
    sampled.push({ id, token: words[at] ?? 0, logprob: floats[at + 1] ?? 0, topLogprobs: numLogprobs === undefined ? undefined : topLogprobs(words, floats, at, numLogprobs) })
    at += resultWords
  }
  return { sampled, scored }
}

/** The alternatives of the result row at a word. */
function topLogprobs (words: Uint32Array, floats: Float32Array, row: number, count: number): TokenLogprob[] {
  return Array.from({ length: count }, (_, i) => ({ token: words[row + 4 + 2 * i] ?? 0, logprob: floats[row + 5 + 2 * i] ?? 0 }))
}
