import { PassTimer } from '../device/pass-timer.ts'
import type { RunnerLimits } from '../contract.ts'
import type { EnginePlan } from '../engine-plan.ts'
import type { LoadProgress } from '../engine.ts'
import { OutOfDeviceMemoryError } from '../errors.ts'
import { CommandList } from '../kernels/command-list.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { WholeLayers, wholeLayerShape } from '../layers/whole-layers.ts'
import type { WholeLayerChoice } from '../layers/whole-layers.ts'
import type { Decoder, DecoderMemory, DecoderWeights } from '../models/decoder.ts'
import { StepPacker } from '../step-inputs.ts'
import { warmUpBatch } from '../warm-up.ts'
import { KeptLayers, layerKey } from './kept-layers.ts'
import type { LayerMeasurement } from './kept-layers.ts'

type Grid = Pick<WholeLayerChoice, 'workgroups' | 'teams' | 'ahead'>

/** Workgroups that are tried, many first: more than a device runs side by side stall, and fewer than it could leave processors without work. */
const WORKGROUPS = [128, 64, 32]

/** What they are tried with. */
const LOOPS = [{ teams: 32, ahead: 4 }, { teams: 32, ahead: 2 }, { teams: 16, ahead: 8 }]

/** Contexts at which layers are measured whole and apart. */
const CONTEXTS = [512, 2048, 4096, 8192, 32_768]

/** Looks of a wait while it is tried whether workgroups run side by side: some hundredths of a second, and a step waits a few microseconds. */
const SHORT_PATIENCE = 50_000

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
  const { device, config } = context
  const grids = WORKGROUPS.map(workgroups => LOOPS.map(loop => ({ workgroups, ...loop })).filter(grid => wholeLayerShape(config, device, grid) !== undefined))
  const some = grids.flat()[0]
  const shape = some === undefined ? undefined : wholeLayerShape(config, device, some)
  if (folder === undefined || context.deterministic || decoder.leavesParts || shape === undefined) return undefined
  const longest = Math.min(limits.maxModelLen, limits.numKVBlocks * limits.blockSize)
  const contexts = CONTEXTS.map(keys => Math.min(keys, longest)).filter((keys, i, all) => keys !== all[i - 1])
  const kept = new KeptLayers(folder, device.report)
  const known = (await kept.read())[layerKey(shape)]
  if (known !== undefined && known.measuredKeys >= (contexts.at(-1) ?? 0)) {
    return known.choice === undefined ? undefined : await WholeLayers.create(context, known.choice, weights.layers, memory)
  }
  if (!device.capabilities.timestamps) return undefined
  try {
    const choice = await measure(parts, grids, contexts)
    await kept.add({ [layerKey(shape)]: { choice, measuredKeys: contexts.at(-1) ?? 1 } satisfies LayerMeasurement })
    return choice === undefined ? undefined : await WholeLayers.create(context, choice, weights.layers, memory)
  } catch (error) {
    if (error instanceof OutOfDeviceMemoryError) return undefined
    throw error
  }
}

/** The fastest of the largest grids that run side by side. Everything is measured in turns, and what took least counts: a GPU that was idle is slow for a while. */
async function measure (parts: WholeLayerParts, grids: ReadonlyArray<readonly Grid[]>, contexts: readonly number[]): Promise<WholeLayerChoice | undefined> {
  const { context, weights, memory } = parts
  using timer = new PassTimer(context.device)
  for (const ofOneSize of grids) {
    const tried: Trial[] = []
    try {
      await Promise.all(ofOneSize.map(async grid => {
        const whole = await WholeLayers.create(context, { ...grid, mostKeys: ALL_KEYS }, weights.layers, memory)
        if (whole !== undefined) tried.push({ grid, whole, seconds: contexts.map(() => Infinity) })
      }))
      for (const { whole } of tried) {
        whole.reset(SHORT_PATIENCE)
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

async function fastest (parts: WholeLayerParts, timer: PassTimer, tried: readonly Trial[], contexts: readonly number[]): Promise<WholeLayerChoice | undefined> {
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
  return choices.toSorted((a, b) => b.saved - a.saved)[0]?.choice
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
