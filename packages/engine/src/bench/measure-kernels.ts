import type { ForwardBatch } from '../contract.ts'
import type { StorageType } from '../engine.ts'
import { OutOfDeviceMemoryError } from '../errors.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import type { LayerConfig, ModelConfig } from '../models/model-config.ts'
import { decodeBatch, promptBatch, rowsBatch, sharingBatch } from './bench-batches.ts'
import type { BenchModel, BenchStep } from './bench-model.ts'
import type { KernelBenchPlan, KernelKind, KernelMeasurement } from './kernel-bench.ts'
import { attendedKeys, kernelWork, linearOf, linearSizes, sharedWork } from './kernel-work.ts'
import type { AttendedKeys } from './kernel-work.ts'
import type { PassTimer } from '../device/pass-timer.ts'

export interface KernelSubject {
  readonly model: Pick<BenchModel, 'limits' | 'kvBytes' | 'step'>
  readonly timer: Pick<PassTimer, 'time'>
  readonly plan: KernelBenchPlan
  readonly config: ModelConfig
  /** The shape's own layers, which may differ in what their queries see. */
  readonly layers: readonly LayerConfig[]
  readonly storage: StorageType
  readonly activation: StorageType
  /** Keys and values that take turns come to this much, or are this many. */
  readonly cacheBytes: number
  readonly mostCopies: number
}

/** One step to take kernels of: which, and what to call the size. */
interface KernelCase {
  readonly batch: ForwardBatch
  readonly layer: LayerConfig
  readonly detail: string
  readonly rows: number
  readonly context: number | undefined
  readonly shared?: KernelMeasurement['shared']
  readonly kinds: readonly KernelKind[]
}

/** Most of a prompt that is computed in one step, the default of `bench engine`. */
const PROMPT_TOKENS = 2048
const NOT_MEASURED = { kernel: '', seconds: 0, minSeconds: 0, maxSeconds: 0, bytes: 0, flops: 0, copies: 0 }

/** Tokens of the last step of a prompt of `context` tokens. */
export function promptTokens (context: number): number {
  return Math.min(context, PROMPT_TOKENS)
}

/** Every kernel of the kinds asked for, at every size: what does not fit the device is reported as skipped. */
export async function measureKernels (subject: KernelSubject): Promise<readonly KernelMeasurement[]> {
  const { plan } = subject
  const measured: KernelMeasurement[] = []
  const cases = casesOf(subject)
  for (const [done, kernelCase] of cases.entries()) {
    plan.onProgress(done, cases.length, kernelCase.detail)
    measured.push(...await measureCase(subject, kernelCase))
  }
  plan.onProgress(cases.length, cases.length, 'done')
  return measured
}

function casesOf ({ plan, layers, model: { limits } }: KernelSubject): readonly KernelCase[] {
  const [first] = layers
  if (first === undefined) return []
  const has = (kind: KernelKind): boolean => plan.kinds.includes(kind)
  const cases: KernelCase[] = []
  const byRows = (['linear', 'rowwise'] as const).filter(has)
  if (byRows.length > 0) {
    for (const rows of plan.rows) {
      cases.push({ batch: rowsBatch(rows, rows <= limits.maxLogitRows ? rows : 0, limits), layer: first, detail: `${rows} rows`, rows, context: undefined, kinds: byRows })
    }
  }
  if (has('attention')) {
    for (const layer of new Map(layers.map(layer => [layer.window, layer])).values()) {
      for (const context of plan.contexts) {
        const tokens = promptTokens(context)
        cases.push({ batch: promptBatch(tokens, context, limits), layer, detail: `attention of a prompt of ${context}`, rows: tokens, context, kinds: ['attention'] })
        for (const batch of plan.batches) {
          cases.push({ batch: decodeBatch(batch, context, limits), layer, detail: `attention of ${batch} sequences at ${context}`, rows: batch, context, kinds: ['attention'] })
          cases.push(...sharingCases(plan, batch, context, layer, limits))
        }
      }
    }
  }
  if (has('sampling')) {
    for (const batch of plan.batches) cases.push({ batch: decodeBatch(batch, 1, limits), layer: first, detail: `sampling of ${batch}`, rows: batch, context: undefined, kinds: ['sampling'] })
  }
  return cases
}

/** The same sequences twice, beside those that share nothing: apart they find in a cache what others have read. */
function sharingCases ({ shared }: KernelBenchPlan, rows: number, context: number, layer: LayerConfig, limits: KernelSubject['model']['limits']): readonly KernelCase[] {
  if (shared === undefined || shared.keys >= context || rows < 2) return []
  const batch = sharingBatch(rows, context, shared, limits)
  return [true, false].map(together => ({
    batch, layer, detail: `attention of ${rows} sequences at ${context}, ${together ? 'together' : 'apart'}`, rows, context, shared: { ...shared, together }, kinds: ['attention'] as const
  }))
}

async function measureCase (subject: KernelSubject, kernelCase: KernelCase): Promise<readonly KernelMeasurement[]> {
  const { batch, layer, kinds, rows, context, shared } = kernelCase
  const named = { rows, context, shared, window: context === undefined ? undefined : layer.window }
  try {
    using step = await subject.model.step({ batch, layer, kvCopies: kvCopies(subject, kernelCase), together: shared?.together })
    const measured: KernelMeasurement[] = []
    const { storage, activation, config } = subject
    const parts = { output: partsOf(step, 'output'), down: partsOf(step, 'down') }
    for (const label of labelsOf(subject, step, kinds)) {
      const units = step.units(label)
      const kind = kindOf(label)
      const work = kernelWork(label, { config, shape: step.shape, attended: attendedIn(kernelCase, label, step.shape.groups > 0), storage, activation, parts })
      measured.push({
        kind,
        label,
        kernel: units[0]?.[0]?.pipeline.label ?? '',
        ...named,
        weight: kind === 'linear' ? weightOf(label, config) : undefined,
        skipped: undefined,
        ...await subject.timer.time(units),
        bytes: work?.bytes ?? 0,
        flops: work?.flops ?? 0,
        copies: units.length
      })
    }
    const hasHead = !kinds.includes('linear') || step.shape.logitRows > 0
    const head: KernelMeasurement = { kind: 'linear', label: 'head', ...named, weight: weightOf('head', subject.config), skipped: `${(rows * subject.config.vocabSize * 4 / 1e9).toFixed(1)} GB of logits`, ...NOT_MEASURED }
    return hasHead ? measured : [...measured, head]
  } catch (error) {
    if (!(error instanceof OutOfDeviceMemoryError)) throw error
    return kinds.map(kind => ({ kind, label: kind, ...named, weight: undefined, skipped: `no room for ${error.details.label} (${(error.details.bytes / 1e9).toFixed(1)} GB)`, ...NOT_MEASURED }))
  }
}

/** What a dispatch attends: of shared keys, all of a step's kernels do a part. */
function attendedIn ({ batch, layer, rows, context = 0, shared }: KernelCase, label: string, grouped: boolean): AttendedKeys {
  if (shared === undefined) return attendedKeys(batch, layer.window)
  const { together, own, all } = sharedWork(rows, context, shared, layer.window)
  return label === 'attention_group' ? together : grouped ? own : all
}

/** Parts of K whose sums a product leaves: its grid has a layer of workgroups for each. */
function partsOf (step: BenchStep, label: 'output' | 'down'): number {
  return step.units(label)[0]?.[0]?.grid[2] ?? 1
}

/** Keys and values are what attention reads; nothing else depends on them. */
function kvCopies ({ model, cacheBytes, mostCopies }: KernelSubject, { kinds, batch }: KernelCase): number {
  return kinds.includes('attention') ? Math.min(mostCopies, Math.ceil(cacheBytes / model.kvBytes(batch))) : 1
}

/** The step's labels of these kinds: of a product that the first or the last layer computes in its own way that of the others, and of those that run the same kernel on as much the first. */
function labelsOf (subject: KernelSubject, step: BenchStep, kinds: readonly KernelKind[]): readonly string[] {
  const isDense = subject.layers.some(({ mlp }) => mlp === 'dense')
  const seen: Dispatch[] = []
  return step.labels.filter(label => {
    if (!kinds.includes(kindOf(label)) || (!isDense && ['gate_up', 'down'].includes(linearOf(label) ?? ''))) return false
    const product = linearOf(label)
    if (product !== undefined) {
      const [most] = step.labels.filter(other => linearOf(other) === product).sort((a, b) => step.units(b).flat().length - step.units(a).flat().length)
      return label === most
    }
    if (kindOf(label) !== 'rowwise') return true
    const [dispatch] = step.units(label)[0] ?? []
    if (dispatch === undefined || seen.some(({ pipeline, grid }) => pipeline === dispatch.pipeline && grid.join() === dispatch.grid.join())) return false
    seen.push(dispatch)
    return true
  })
}

function weightOf (label: string, config: ModelConfig): KernelMeasurement['weight'] {
  const linear = linearOf(label)
  if (linear === undefined) return undefined
  const [outputs, inputs] = linearSizes(config)[linear]
  return { outputs, inputs }
}

function kindOf (label: string): KernelKind {
  // A lone token's attention ends in it, at contexts that only attention is measured at.
  if (label === 'output merged') return 'attention'
  if (linearOf(label) !== undefined) return 'linear'
  if (label.startsWith('attention_') && !/_norm\b/.test(label)) return 'attention'
  return label.startsWith('sample_') ? 'sampling' : 'rowwise'
}
