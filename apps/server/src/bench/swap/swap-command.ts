import { InvalidArgumentError } from 'commander'
import type { Command } from 'commander'
import { parseByteSize } from '../../cli/byte-size.ts'
import type { CommandContext } from '../../cli/command-context.ts'
import type { OpenEngineForBench } from '../engine/engine-command.ts'
import { addEngineFlags, addModelFlags, engineOptionsOf, modelOf } from '../engine/engine-flags.ts'
import type { EngineFlags, ModelFlags } from '../engine/engine-flags.ts'
import { StepPipeline } from '../engine/step-pipeline.ts'
import { wholeNumber, wholeNumbers } from '../flag-values.ts'
import { ProgressLine } from '../progress-line.ts'
import { benchSwap, longestSwapped } from './bench-swap.ts'
import type { SwapBenchPlan } from './bench-swap.ts'
import { swapReportTable } from './swap-report-table.ts'

interface SwapFlags extends EngineFlags, ModelFlags {
  readonly context: readonly number[]
  readonly repeats: number
  readonly swapSpace: number
  readonly json: boolean
}

/** Adds `bench swap`. */
export function addSwapCommand (bench: Command, context: CommandContext, open: OpenEngineForBench): void {
  const command = addModelFlags(bench.command('swap').description('compare what a preempted sequence costs: copying its KV blocks to the host and back, or computing it again'))
    .option('--context <tokens>', 'tokens in the sequence, e.g. 512,4096', wholeNumbers(1, 10_000_000), [512, 2048, 8192])
    .option('--repeats <count>', 'measurements of each; the median counts', wholeNumber(1, 1000), 7)
    .option('--swap-space <size>', 'host memory for KV blocks', byteSize, 4 * 2 ** 30)
  addEngineFlags(command)
    .option('--json', 'print the result as JSON instead of a table', false)
    .action(async (flags: SwapFlags) => { await runSwapBench(flags, context, open) })
}

async function runSwapBench (flags: SwapFlags, context: CommandContext, open: OpenEngineForBench): Promise<void> {
  const plan: SwapBenchPlan = { contexts: flags.context, repeats: flags.repeats, seed: flags.seed }
  const { name, source } = await modelOf(flags, context)
  const progress = new ProgressLine(context.stderr)
  const { engine } = await open({
    ...engineOptionsOf(flags, context),
    model: source,
    swapSpaceBytes: flags.swapSpace,
    maxModelLen: longestSwapped(plan),
    // The one that is swapped, and another that decodes meanwhile.
    maxSequences: 2,
    onProgress: ({ done, total, detail }) => progress.update(done, total, detail)
  })
  try {
    const pipeline = new StepPipeline(engine.runner, () => performance.now() / 1000)
    const measurements = await benchSwap(engine, plan, { pipeline, onProgress: (done, total, detail) => progress.update(done, total, detail) })
    progress.clear()
    const { report, runner: { hostTier } } = engine
    const { adapter: { name: adapter, driver, backend, software }, ...about } = report
    const { json: _, ...settings } = flags
    context.stdout.write(flags.json
      ? `${JSON.stringify({ date: new Date().toISOString(), model: name, ...about, adapter: { name: adapter, driver, backend, software }, settings, hostTier, measurements })}\n`
      : swapReportTable(report, name, measurements))
  } finally {
    progress.clear()
    await engine.runner[Symbol.asyncDispose]()
  }
}

function byteSize (text: string): number {
  const bytes = parseByteSize(text)
  if (bytes === undefined || bytes < 1) throw new InvalidArgumentError('a size such as 512MiB or 2GiB is allowed.')
  return bytes
}
