import { PassTimer } from '../device/pass-timer.ts'
import type { RunnerLimits } from '../contract.ts'
import type { EnginePlan } from '../engine-plan.ts'
import type { LoadProgress } from '../engine.ts'
import { InvalidShaderError, OutOfDeviceMemoryError } from '../errors.ts'
import { CommandList } from '../kernels/command-list.ts'
import { shortPatience } from '../kernels/layer/layer-exchange.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { WholeLayers, wholeLayerShape } from '../layers/whole-layers.ts'
import type { WholeLayerChoice } from '../layers/whole-layers.ts'
import type { Decoder } from '../models/decoder.ts'
import type { DecoderMemory, DecoderWeights } from '../models/decoder-weights.ts'
import { StepPacker } from '../step-inputs.ts'
import { warmUpBatch } from '../warm-up.ts'
import { KeptLayers, layerKey } from './kept-layers.ts'

type Grid = Pick<WholeLayerChoice, 'workgroups' | 'teams' | 'ahead'>

/** Workgroups that are tried, many first: more than a device runs side by side stall, and fewer than it could leave processors without work. */
const WORKGROUPS = [128, 64, 32]

/** What they are tried with. */
const LOOPS = [{ teams: 32, ahead: 4 }, { teams: 32, ahead: 2 }, { teams: 16, ahead: 8 }]

/** Contexts at which layers are measured whole and apart. */
const CONTEXTS = [512, 2048, 4096, 8192, 32_768]

/** All of it, for the name of the file that has the answers. */
export const whatIsTried = [WORKGROUPS, LOOPS, CONTEXTS]

/** How often everything is measured. */
const ROUNDS = 3

/** A difference that counts. */
const FASTER = 0.99

/** Keys of the longest context that is measured. */
const ALL_KEYS = 32_768

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

/**
 * Whole layers, where they are faster for a single token than dispatches apart: as the folder knows, or measured now on the model itself, with whatever the KV cache holds.
 * Tried on each adapter instead of known of it, since WebGPU tells neither how many workgroups run side by side nor that any do.
 */
export async function chooseWholeLayers (parts: WholeLayerParts): Promise<WholeLayers | undefined> {
  const { context, decoder, weights, memory, limits, folder } = parts
  const { device } = context
  const key = keyOf(parts)
  if (folder === undefined || context.deterministic || decoder.leavesParts || key === undefined) return undefined
  const longest = Math.min(limits.maxModelLen, limits.numKVBlocks * limits.blockSize)
  const contexts = CONTEXTS.map(keys => Math.min(keys, longest)).filter((keys, i, all) => keys !== all[i - 1])
  const measuredKeys = contexts.at(-1) ?? 1
  const kept = new KeptLayers(folder, device.report, whatIsTried)
  try {
    let known = (await kept.read())[key]
    if (known === undefined || known.measuredKeys < measuredKeys) {
      if (!device.capabilities.timestamps) return undefined
      const measured = await measure(parts, gridsOf(parts), contexts)
      // None ran: something else may have a part of the GPU today.
      if (measured === undefined) return undefined
      known = { ...measured, measuredKeys }
      await kept.add({ [key]: known })
    }
    return known.choice === undefined ? undefined : await WholeLayers.create(context, known.choice, weights.layers, memory)
  } catch (error) {
    // Without them a start is none the worse.
    if (error instanceof OutOfDeviceMemoryError || error instanceof InvalidShaderError) return undefined
    throw error
  }
}

/** Has the next start do without whole layers, and those after it: their workgroups did not run side by side when it mattered. */
export async function forgetWholeLayers (parts: Pick<WholeLayerParts, 'context' | 'folder'>): Promise<void> {
  const key = keyOf(parts)
  if (parts.folder === undefined || key === undefined) return
  await new KeptLayers(parts.folder, parts.context.device.report, whatIsTried).add({ [key]: { choice: undefined, measuredKeys: Number.MAX_SAFE_INTEGER } })
}

/** By the number of their workgroups; those that the model and the adapter have room for. */
function gridsOf ({ context: { config, device } }: Pick<WholeLayerParts, 'context'>): ReadonlyArray<readonly Grid[]> {
  return WORKGROUPS.map(workgroups => LOOPS.map(loop => ({ workgroups, ...loop })).filter(grid => wholeLayerShape(config, device, grid) !== undefined))
}

function keyOf (parts: Pick<WholeLayerParts, 'context'>): string | undefined {
  const { config, device } = parts.context
  const grid = gridsOf(parts).flat()[0]
  const shape = grid === undefined ? undefined : wholeLayerShape(config, device, grid)
  return shape === undefined ? undefined : layerKey(shape, config)
}

/** Undefined: dispatches apart are as fast. */
interface Measured { readonly choice: WholeLayerChoice | undefined }

/** The fastest of the largest grids that run side by side. Everything is measured in turns, and what took least counts: a GPU that was idle is slow for a while. */
async function measure (parts: WholeLayerParts, grids: ReadonlyArray<readonly Grid[]>, contexts: readonly number[]): Promise<Measured | undefined> {
  const { context, weights, memory } = parts
  using timer = new PassTimer(context.device)
  for (const ofOneSize of grids) {
    const tried: Trial[] = []
    try {
      // All of them are waited for, so that all are freed.
      const created = await Promise.allSettled(ofOneSize.map(async grid => {
        const whole = await WholeLayers.create(context, { ...grid, mostKeys: ALL_KEYS }, weights.layers, memory)
        if (whole !== undefined) tried.push({ grid, whole, seconds: contexts.map(() => Infinity) })
      }))
      for (const of of created) if (of.status === 'rejected') throw of.reason
      for (const { whole } of tried) {
        whole.reset(shortPatience)
        await time(parts, timer, whole, contexts[0] ?? 1)
      }
      const stalled = await Promise.all(tried.map(({ whole }) => isStalled(context.device, whole)))
      if (stalled.includes(false)) return await fastest(parts, timer, tried.filter((_, i) => stalled[i] === false), contexts)
    } finally {
      for (const { whole } of tried) whole[Symbol.dispose]()
    }
  }
  return undefined
}

interface Trial { readonly grid: Grid, readonly whole: WholeLayers, readonly seconds: number[] }

async function fastest (parts: WholeLayerParts, timer: PassTimer, tried: readonly Trial[], contexts: readonly number[]): Promise<Measured> {
  const apart = contexts.map(() => Infinity)
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, keys] of contexts.entries()) {
      parts.onProgress({ stage: 'kernels', done: round * contexts.length + i, total: ROUNDS * contexts.length, detail: 'measuring whole layers' })
      apart[i] = Math.min(apart[i] ?? Infinity, await time(parts, timer, undefined, keys))
      for (const { whole, seconds } of tried) seconds[i] = Math.min(seconds[i] ?? Infinity, await time(parts, timer, whole, keys))
    }
  }
  const choices: Array<{ readonly choice: WholeLayerChoice, readonly saved: number }> = []
  for (const { grid, whole, seconds } of tried) {
    if (await isStalled(parts.context.device, whole)) continue
    const ratios = seconds.map((whole, i) => whole / (apart[i] ?? NaN))
    const slower = ratios.findIndex(ratio => !(ratio < FASTER))
    const mostKeys = contexts[(slower === -1 ? contexts.length : slower) - 1]
    if (mostKeys !== undefined) choices.push({ choice: { ...grid, mostKeys }, saved: ratios.reduce((sum, ratio) => sum + Math.max(0, 1 - ratio), 0) })
  }
  return { choice: choices.toSorted((a, b) => b.saved - a.saved)[0]?.choice }
}

/** Seconds of a step of one token with so many keys. */
async function time ({ context, decoder, limits, stepLayout }: WholeLayerParts, timer: PassTimer, whole: WholeLayers | undefined, keys: number): Promise<number> {
  const { device, buffers } = context
  const { shape, words } = new StepPacker(limits, stepLayout).pack(warmUpBatch(0, { numTokens: 1, context: keys, scored: false }, limits))
  device.queue.writeBuffer(buffers.step, 0, words)
  const list = new CommandList()
  decoder.wholeLayers = whole
  decoder.record(list, shape)
  decoder.wholeLayers = undefined
  const { seconds } = await timer.time([list.dispatches], { wakeSeconds: 0.05, passSeconds: 0.005 })
  return seconds
}

async function isStalled ({ device, queue }: LayerContext['device'], { stallMark }: WholeLayers): Promise<boolean> {
  const mark = device.createBuffer({ label: 'stalled', size: 8, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const encoder = device.createCommandEncoder()
  encoder.copyBufferToBuffer(stallMark.buffer, stallMark.offset, mark, 0, 8)
  queue.submit([encoder.finish()])
  await mark.mapAsync(GPUMapMode.READ)
  const [stalled = 1] = new Uint32Array(mark.getMappedRange())
  mark.destroy()
  return stalled !== 0
}
