import { Option } from 'commander'
import type { Command } from 'commander'
import type { Engine, EngineOptions } from '@daybreak/engine'
import { formatByteSize } from '../../cli/byte-size.ts'
import type { CommandContext } from '../../cli/command-context.ts'
import { numberFrom, wholeNumber, wholeNumbers } from '../flag-values.ts'
import { ProgressLine } from '../progress-line.ts'
import { benchEngine } from './bench-engine.ts'
import type { EngineBenchReport } from './bench-engine.ts'
import { longestSequence } from './engine-bench-plan.ts'
import type { EngineBenchPlan } from './engine-bench-plan.ts'
import { addEngineFlags, addModelFlags, engineOptionsOf, modelOf } from './engine-flags.ts'
import type { EngineFlags, ModelFlags } from './engine-flags.ts'
import { engineReportTable } from './engine-report-table.ts'
import { profileSteps } from './profile-steps.ts'
import type { StepProfiler, StepProfiles } from './profile-steps.ts'
import { StepPipeline } from './step-pipeline.ts'
import { stepProfileTables } from './step-profile-table.ts'

interface EngineBenchFlags extends EngineFlags, ModelFlags {
  readonly batch: readonly number[]
  readonly context: readonly number[]
  readonly prompt: readonly number[]
  readonly decodeTokens: number
  readonly prefillRepeats: number
  readonly warmupSteps: number
  readonly deterministic: boolean
  readonly copyBandwidth?: number
  readonly profile?: number
  readonly json: boolean
}

export interface EngineForBench {
  readonly engine: Engine
  /** How fast the adapter copies: bytes per second, read + written; undefined when it cannot say. */
  readonly copyBandwidth: number | undefined
  readonly profiler: StepProfiler
}

/** Opens an engine and measures its adapter. */
/** A process's first steps are compiled while they run, and an idle GPU's clocks are low: one token took up to twice as long on an H200's host. */
const WAKE_SECONDS = 0.3

export type OpenEngineForBench = (options: EngineOptions) => Promise<EngineForBench>

/** Adds `bench engine`. */
export function addEngineCommand (bench: Command, context: CommandContext, open: OpenEngineForBench): void {
  const command = addModelFlags(bench.command('engine').description('measure prefill and decode of the engine itself, without HTTP'))
    .option('--batch <counts>', 'sequences that decode together, e.g. 1,8,32', wholeNumbers(1, 65_536), [1, 8, 32])
    .option('--context <tokens>', 'tokens in each sequence when decoding begins, e.g. 512,4096', wholeNumbers(1, 10_000_000), [512])
    .option('--prompt <tokens>', 'prompt lengths to prefill', wholeNumbers(1, 10_000_000), [2048])
    .option('--decode-tokens <count>', 'decode steps to measure', wholeNumber(1, 1_000_000), 128)
    .option('--prefill-repeats <count>', 'prefills to measure', wholeNumber(1, 10_000), 5)
    .option('--warmup-steps <count>', 'decode steps before the measured ones', wholeNumber(0, 10_000), 8)
  addEngineFlags(command)
    .option('--deterministic', 'only kernels that give a token the same bits in every batch', false)
    .option('--copy-bandwidth <GB/s>', "compare with this instead of the adapter's measured copy bandwidth", numberFrom(0.001))
    .addOption(new Option('--profile [steps]', 'then time the kernels of each step measured one by one, so many steps of each (default: 5)').argParser(wholeNumber(1, 1000)).preset('5'))
    .option('--json', 'print the result as JSON instead of a table', false)
    .action(async (flags: EngineBenchFlags) => { await runEngineBench(flags, context, open) })
}

async function runEngineBench (flags: EngineBenchFlags, context: CommandContext, open: OpenEngineForBench): Promise<void> {
  const plan: EngineBenchPlan = {
    batches: flags.batch,
    contexts: flags.context,
    prompts: flags.prompt,
    decodeTokens: flags.decodeTokens,
    prefillRepeats: flags.prefillRepeats,
    warmupSteps: flags.warmupSteps,
    wakeSeconds: WAKE_SECONDS,
    seed: flags.seed
  }
  const { name, source } = await modelOf(flags, context)
  const progress = new ProgressLine(context.stderr)
  const { engine, copyBandwidth: measuredBandwidth, profiler } = await open({
    ...engineOptionsOf(flags, context),
    model: source,
    maxModelLen: longestSequence(plan),
    maxSequences: Math.max(...flags.batch),
    deterministic: flags.deterministic,
    onProgress: ({ stage, done, total, detail }) => {
      if (stage === 'weights') progress.update(done, total, `${formatByteSize(done)} of weights`)
      else progress.update(done, total, detail)
    }
  })
  try {
    const copyBandwidth = flags.copyBandwidth === undefined ? measuredBandwidth : flags.copyBandwidth * 1e9
    const now = (): number => performance.now() / 1000
    const onProgress = (done: number, total: number, detail: string): void => { progress.update(done, total, detail) }
    const pipeline = new StepPipeline(engine.runner, now)
    // First, because an adapter may be unable to.
    const passSeconds = flags.profile === undefined ? undefined : await profiler.measurePassSeconds()
    const report = await benchEngine(engine, plan, { copyBandwidth, now, onProgress, pipeline })
    const profile = flags.profile === undefined || passSeconds === undefined
      ? undefined
      : await profileSteps(engine, report, { profiler, pipeline, passSeconds, repeats: flags.profile, seed: flags.seed, now, onProgress })
    progress.clear()
    context.stdout.write(flags.json
      ? `${JSON.stringify(jsonReport(engine, name, flags, copyBandwidth, { ...report, ...profile === undefined ? {} : { profile } }))}\n`
      : engineReportTable(engine.report, name, copyBandwidth, report) + (profile === undefined ? '' : `\n${stepProfileTables(profile)}`))
  } finally {
    progress.clear()
    await engine.runner[Symbol.asyncDispose]()
  }
}

/** Everything a number needs beside it to mean something: adapter, driver, dtype, model and settings. */
function jsonReport (engine: Engine, model: string, flags: EngineBenchFlags, copyBandwidth: number | undefined, report: EngineBenchReport & { readonly profile?: StepProfiles }): object {
  const { adapter: { name, vendor, architecture, driver, backend, software }, ...about } = engine.report
  const { json: _, ...settings } = flags
  return {
    date: new Date().toISOString(),
    model,
    ...about,
    adapter: { name, vendor, architecture, driver, backend, software },
    copyBandwidth: copyBandwidth ?? null,
    limits: engine.runner.limits,
    settings,
    ...report
  }
}
