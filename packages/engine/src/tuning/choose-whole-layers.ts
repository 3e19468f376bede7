import os from 'node:os'
import type { RunnerLimits } from '../contract.ts'
import { InvalidShaderError, OutOfDeviceMemoryError } from '../errors.ts'
import { WholeLayers, wholeLayerShape } from '../layers/whole-layers.ts'
import type { WholeLayerGrid } from '../layers/whole-layers.ts'
import { KeptLayers, layerKey } from './kept-layers.ts'
import type { LayerMeasurement } from './kept-layers.ts'
import { measureWholeLayers } from './measure-whole-layers.ts'
import type { RowsToTry, WholeLayerParts } from './measure-whole-layers.ts'

/** Workgroups that are tried, many first: more than a device runs side by side stall, and fewer than it could leave processors without work. */
const WORKGROUPS = [128, 64, 32]

/** What is tried for so many rows, and the contexts at which layers are measured whole and apart. */
const ROWS: ReadonlyArray<Omit<RowsToTry, 'sequences'>> = [
  { rows: 1, loops: [{ teams: 32, ahead: 4 }, { teams: 32, ahead: 2 }, { teams: 16, ahead: 8 }], contexts: [512, 2048, 4096, 8192, 32_768], rounds: 3 },
  { rows: 2, loops: [{ teams: 32, ahead: 4 }, { teams: 16, ahead: 8 }], contexts: [512, 2048, 8192], rounds: 2 },
  { rows: 4, loops: [{ teams: 32, ahead: 2 }, { teams: 16, ahead: 4 }], contexts: [512, 2048, 8192], rounds: 2 },
  { rows: 8, loops: [{ teams: 32, ahead: 2 }, { teams: 32, ahead: 4 }], contexts: [512, 2048, 8192], rounds: 2 }
]

/** All of it, and how, for the name of the file that has the answers: the host's time counts, so another host has its own. */
export const whatIsTried = [WORKGROUPS, ROWS, 'what a step takes the device or the host', os.cpus()[0]?.model ?? 'a host']

/**
 * Whole layers, where they are faster for single tokens of a few sequences than dispatches apart: as the folder knows, or measured now on the model itself, with whatever the KV cache holds.
 * Tried on each adapter instead of known of it, since WebGPU tells neither how many workgroups run side by side nor that any do.
 */
export async function chooseWholeLayers (parts: WholeLayerParts): Promise<WholeLayers | undefined> {
  const { context, weights, memory, limits, folder } = parts
  const { device } = context
  const key = keyOf(parts)
  if (folder === undefined || context.deterministic || key === undefined) return undefined
  const tried = rowsToTry(limits)
  const kept = new KeptLayers(folder, device.report, whatIsTried)
  try {
    const known = (await kept.read())[key] ?? []
    const unknown = device.capabilities.timestamps ? tried.filter(rows => !isKnown(known, rows)) : []
    const measured = unknown.length === 0 ? [] : await measureWholeLayers(parts, unknown, ({ rows, loops }, workgroups) => gridsOf(parts, rows, loops, workgroups), WORKGROUPS)
    const all = [...known.filter(({ rows }) => !measured.some(other => other.rows === rows)), ...measured]
    if (measured.length > 0) await kept.add({ [key]: all })
    return await WholeLayers.create(context, all.filter(({ rows }) => tried.some(other => other.rows === rows)), weights.layers, memory)
  } catch (error) {
    // Without them a start is none the worse.
    if (error instanceof OutOfDeviceMemoryError || error instanceof InvalidShaderError) return undefined
    throw error
  }
}

/** More keys need not be measured either where fewer were slower. */
export function isKnown (known: readonly LayerMeasurement[], { rows, contexts }: RowsToTry): boolean {
  const before = known.find(measurement => measurement.rows === rows)
  return before !== undefined && (before.mostKeys < before.measuredKeys || before.measuredKeys >= (contexts.at(-1) ?? 0))
}

/** Has the next start do without whole layers, and those after it: their workgroups did not run side by side when it mattered. */
export async function forgetWholeLayers (parts: Pick<WholeLayerParts, 'context' | 'folder'>): Promise<void> {
  const key = keyOf(parts)
  if (parts.folder === undefined || key === undefined) return
  const never = ROWS.map(({ rows, loops: [loop] }) => ({ rows, workgroups: WORKGROUPS[0] ?? 1, teams: loop.teams, ahead: loop.ahead, mostKeys: 0, measuredKeys: Number.MAX_SAFE_INTEGER }))
  await new KeptLayers(parts.folder, parts.context.device.report, whatIsTried).add({ [key]: never })
}

/** What an engine's steps can have; contexts that so many sequences have room for. */
export function rowsToTry ({ maxModelLen, maxSequences, maxBatchedTokens, numKVBlocks, blockSize }: RunnerLimits): readonly RowsToTry[] {
  const most = Math.min(maxSequences, maxBatchedTokens)
  // Of a kernel of eight rows an engine of five sequences uses five.
  return ROWS.filter((_, i) => (ROWS[i - 1]?.rows ?? 0) < most).map(tried => {
    const sequences = Math.min(tried.rows, most)
    const longest = Math.min(maxModelLen, Math.floor(numKVBlocks / sequences) * blockSize)
    const contexts = tried.contexts.map(keys => Math.min(keys, longest))
    return { ...tried, sequences, contexts: contexts.filter((keys, i) => keys > 0 && keys !== contexts[i - 1]) }
  }).filter(({ contexts }) => contexts.length > 0)
}

/** Those that the model and the adapter have room for. */
function gridsOf ({ context: { config, device } }: Pick<WholeLayerParts, 'context'>, rows: number, loops: RowsToTry['loops'], workgroups: number): readonly WholeLayerGrid[] {
  return loops.map(loop => ({ rows, workgroups, ...loop })).filter(grid => wholeLayerShape(config, device, grid) !== undefined)
}

function keyOf (parts: Pick<WholeLayerParts, 'context'>): string | undefined {
  const { config, device } = parts.context
  const grid = ROWS.flatMap(({ rows, loops }) => WORKGROUPS.flatMap(workgroups => gridsOf(parts, rows, loops, workgroups)))[0]
  const shape = grid === undefined ? undefined : wholeLayerShape(config, device, grid)
  return shape === undefined ? undefined : layerKey(shape, config)
}
