import { decodeBatch } from '../bench/bench-batches.ts'
import type { RunnerLimits } from '../contract.ts'
import { PassTimer } from '../device/pass-timer.ts'
import type { EnginePlan } from '../engine-plan.ts'
import type { LoadProgress } from '../engine.ts'
import { InvalidShaderError, OutOfDeviceMemoryError } from '../errors.ts'
import { CommandList } from '../kernels/command-list.ts'
import { shortPatience } from '../kernels/layer/layer-exchange.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { isStalled } from '../layers/stall-mark.ts'
import { WholeLayers } from '../layers/whole-layers.ts'
import type { WholeLayerChoice, WholeLayerGrid } from '../layers/whole-layers.ts'
import type { Decoder } from '../models/decoder.ts'
import type { DecoderMemory, DecoderWeights } from '../models/decoder-weights.ts'
import { StepPacker } from '../step-inputs.ts'
import type { StepShape } from '../step-inputs.ts'
import { encodingSeconds } from './encoding-seconds.ts'
import type { LayerMeasurement } from './kept-layers.ts'

/** The parts of an engine that has all but its runner. */
export interface WholeLayerParts {
  readonly context: LayerContext
  readonly decoder: Decoder
  readonly weights: DecoderWeights
  readonly memory: DecoderMemory
  readonly limits: RunnerLimits
  readonly stepLayout: EnginePlan['stepLayout']
  /** Where measurements are kept; undefined: layers are computed apart. */
  readonly folder: string | undefined
  readonly onProgress: (progress: LoadProgress) => void
}

type Loop = Pick<WholeLayerGrid, 'teams' | 'ahead'>

/** Rows, the loops that are tried for them, and keys of each at which they are measured, so often. */
export interface RowsToTry {
  readonly rows: number
  /** As many as there are rows, or as an engine has. */
  readonly sequences: number
  readonly loops: readonly [Loop, ...Loop[]]
  readonly contexts: readonly number[]
  readonly rounds: number
}

/** A difference that counts. */
const FASTER = 0.99

/**
 * For each number of rows the fastest of the largest grids that run side by side. Everything is measured in turns, and what took least counts: a GPU that was idle is slow for a while.
 * @returns without those rows of which no grid ran, or for which there was no memory: something else may have a part of the GPU today
 */
export async function measureWholeLayers (parts: WholeLayerParts, tried: readonly RowsToTry[], gridsOf: (rows: RowsToTry, workgroups: number) => readonly WholeLayerGrid[], workgroups: readonly number[]): Promise<readonly LayerMeasurement[]> {
  using timer = new PassTimer(parts.context.device)
  const measured: LayerMeasurement[] = []
  for (const [i, rows] of tried.entries()) {
    const progress = (share: number): void => {
      parts.onProgress({ stage: 'kernels', done: Math.round(100 * (i + share) / tried.length), total: 100, detail: 'measuring whole layers' })
    }
    for (const count of workgroups) {
      const grids = gridsOf(rows, count)
      const choice = grids.length === 0 ? undefined : await measuredUnlessRefused(grids, async () => await measureGrids(parts, timer, rows, grids, progress))
      if (choice === undefined) continue
      measured.push({ ...choice, measuredKeys: rows.contexts.at(-1) ?? 1 })
      break
    }
  }
  return measured
}

/** A kernel that a driver does not take says nothing of those with other rows. */
async function measuredUnlessRefused ([grid]: readonly WholeLayerGrid[], measure: () => Promise<WholeLayerChoice | undefined>): Promise<WholeLayerChoice | undefined> {
  try {
    return await measure()
  } catch (error) {
    if (error instanceof OutOfDeviceMemoryError) return undefined
    if (!(error instanceof InvalidShaderError) || grid === undefined) throw error
    return { ...grid, mostKeys: 0 }
  }
}

interface Trial { readonly grid: WholeLayerGrid, readonly whole: WholeLayers, readonly seconds: number[] }

/** @returns undefined where no grid ran */
async function measureGrids (parts: WholeLayerParts, timer: PassTimer, { sequences, contexts, rounds }: RowsToTry, grids: readonly WholeLayerGrid[], progress: (share: number) => void): Promise<WholeLayerChoice | undefined> {
  const { context, weights, memory } = parts
  const tried: Trial[] = []
  try {
    // All of them are waited for, so that all are freed.
    const created = await Promise.allSettled(grids.map(async grid => {
      const whole = await WholeLayers.create(context, [{ ...grid, mostKeys: Number.MAX_SAFE_INTEGER }], weights.layers, memory)
      if (whole !== undefined) tried.push({ grid, whole, seconds: contexts.map(() => Infinity) })
    }))
    for (const of of created) if (of.status === 'rejected') throw of.reason
    const running: Trial[] = []
    for (const trial of tried) {
      trial.whole.reset(shortPatience)
      const { shape } = await deviceSeconds(parts, timer, trial.whole, sequences, contexts[0] ?? 1)
      if (!await hasStalled(parts, trial.whole, shape)) running.push(trial)
    }
    if (running.length === 0) return undefined
    const apart = contexts.map(() => Infinity)
    for (let round = 0; round < rounds; round++) {
      for (const [i, keys] of contexts.entries()) {
        progress((round * contexts.length + i) / (rounds * contexts.length))
        apart[i] = Math.min(apart[i] ?? Infinity, await stepSeconds(parts, timer, undefined, sequences, keys))
        for (const { whole, seconds } of running) seconds[i] = Math.min(seconds[i] ?? Infinity, await stepSeconds(parts, timer, whole, sequences, keys))
      }
    }
    return await fastest(parts, running, sequences, contexts, apart)
  } finally {
    for (const { whole } of tried) whole[Symbol.dispose]()
  }
}

async function fastest (parts: WholeLayerParts, running: readonly Trial[], sequences: number, contexts: readonly number[], apart: readonly number[]): Promise<WholeLayerChoice | undefined> {
  const choices: Array<{ readonly choice: WholeLayerChoice, readonly saved: number }> = []
  const { shape } = pack(parts, sequences, contexts[0] ?? 1)
  for (const { grid, whole, seconds } of running) {
    if (await hasStalled(parts, whole, shape)) continue
    const ratios = seconds.map((whole, i) => whole / (apart[i] ?? NaN))
    const mostKeys = keysUntilSlower(contexts, ratios)
    choices.push({ choice: { ...grid, mostKeys }, saved: mostKeys === 0 ? 0 : ratios.reduce((sum, ratio) => sum + Math.max(0, 1 - ratio), 0) })
  }
  return choices.toSorted((a, b) => b.saved - a.saved)[0]?.choice
}

/** Keys up to which whole layers take less time than apart by a difference that counts, on lines between what was measured; 0: not even the fewest. */
export function keysUntilSlower (contexts: readonly number[], ratios: readonly number[]): number {
  const slower = ratios.findIndex(ratio => !(ratio < FASTER))
  if (slower === -1) return contexts.at(-1) ?? 0
  const [from, to, before, behind] = [contexts[slower - 1], contexts[slower], ratios[slower - 1], ratios[slower]]
  if (from === undefined || to === undefined || before === undefined || behind === undefined) return 0
  return Math.floor(from + (to - from) * Math.max(0, (FASTER - before) / (behind - before) || 0))
}

function pack ({ limits, stepLayout }: WholeLayerParts, rows: number, keys: number) {
  return new StepPacker(limits, stepLayout).pack(decodeBatch(rows, keys, limits))
}

/** Seconds that a step of so many tokens with so many keys each takes the device, or the host to encode it, if that is longer. */
async function stepSeconds (parts: WholeLayerParts, timer: PassTimer, whole: WholeLayers | undefined, rows: number, keys: number): Promise<number> {
  const { seconds, list } = await deviceSeconds(parts, timer, whole, rows, keys)
  return Math.max(seconds, await encodingSeconds(parts.context.device, list))
}

async function deviceSeconds (parts: WholeLayerParts, timer: PassTimer, whole: WholeLayers | undefined, rows: number, keys: number): Promise<{ readonly seconds: number, readonly shape: StepShape, readonly list: CommandList }> {
  const { context: { device, buffers }, decoder } = parts
  const { shape, words } = pack(parts, rows, keys)
  device.queue.writeBuffer(buffers.step, 0, words)
  const list = new CommandList()
  decoder.wholeLayers = whole
  decoder.record(list, shape)
  decoder.wholeLayers = undefined
  const { seconds } = await timer.time([list.dispatches], { wakeSeconds: 0.05, passSeconds: 0.005 })
  return { seconds, shape, list }
}

async function hasStalled ({ context: { device } }: WholeLayerParts, whole: WholeLayers, shape: StepShape): Promise<boolean> {
  const mark = whole.stallMark(shape)
  return mark === undefined || await isStalled(device, mark)
}
