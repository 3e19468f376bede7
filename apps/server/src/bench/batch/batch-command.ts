import { writeFile } from 'node:fs/promises'
import { Option } from 'commander'
import type { Command } from 'commander'
import type { ModelRunner } from '@daybreak/engine/contract'
import type { CommandContext } from '../../cli/command-context.ts'
import type { OpenEngineForBench } from '../engine/engine-command.ts'
import { addEngineFlags, engineOptionsOf } from '../engine/engine-flags.ts'
import type { EngineFlags } from '../engine/engine-flags.ts'
import { listOf, numberFrom, oneOf, wholeNumber, wholeNumbers } from '../flag-values.ts'
import { ProgressLine } from '../progress-line.ts'
import { batchCases, longestSequence } from './batch-cases.ts'
import type { BatchCaseFlags } from './batch-cases.ts'
import { batchReportTable, summarize } from './batch-report.ts'
import type { BatchSummary } from './batch-report.ts'
import { idleRunner } from './idle-runner.ts'
import { BATCH_POLICIES, runBatch } from './run-batch.ts'
import type { BatchPolicy } from './run-batch.ts'
import { stepPlot } from './step-plot.ts'
import type { PlottedRun } from './step-plot.ts'

interface BatchFlags extends BatchCaseFlags, EngineFlags {
  readonly synthetic: string
  readonly dryRun: boolean
  readonly policies: readonly BatchPolicy[]
  readonly maxNumSeqs: number
  readonly sharedAttention: 'on' | 'off' | 'auto'
  readonly plot?: string
  readonly json: boolean
}

/** Of a dry run, which has no memory to ask for. */
const DRY_KV_BLOCKS = 32_768
const DRY_VOCABULARY = 32_000

/** Adds `bench batch`. */
export function addBatchCommand (bench: Command, context: CommandContext, open: OpenEngineForBench): void {
  const command = bench.command('batch')
    .description('measure a whole batch of prompts that share beginnings: in order of arrival, in order of groups, and with prefixes computed once')
    .option('--synthetic <shape>', 'random weights of a named shape', 'llama-3.2-1b')
    .option('--dry-run', 'compute nothing: which tokens are saved and how full steps are needs no GPU', false)
    .option('--policies <list>', `of ${BATCH_POLICIES.join(', ')}`, listOf(BATCH_POLICIES), BATCH_POLICIES)
    .option('--prompts <count>', 'prompts of the batch', wholeNumber(1, 10_000_000), 2000)
    .option('--degree <list>', 'prompts that share a beginning; a batch for each', wholeNumbers(1), [16])
    .addOption(new Option('--mean-degree <number>', 'instead: a mean of degrees with a heavy tail').argParser(numberFrom(1, 100)).conflicts('degree'))
    .option('--prefix <tokens>', 'tokens that they share', wholeNumber(0), 2000)
    .option('--distinct <tokens>', 'tokens of their own', wholeNumber(1), 200)
    .option('--output <tokens>', 'tokens each generates', wholeNumber(1), 100)
    .addOption(new Option('--trace <file>', "instead: a Mooncake trace's prompts (JSON lines), in their order of arrival").conflicts(['degree', 'meanDegree', 'prefix', 'distinct', 'output', 'prompts']))
    .option('--context <tokens>', "the trace's lengths are scaled so that its longest request takes so many tokens", wholeNumber(64, 10_000_000), 8192)
    .option('--kv-blocks <list>', `blocks of the KV cache, the batch run with each; as many as can be had, ${DRY_KV_BLOCKS.toLocaleString('en')} in a dry run`, wholeNumbers(1))
    .option('--max-num-seqs <count>', 'sequences of one step at most', wholeNumber(1, 4096), 256)
    .option('--shared-attention <choice>', 'on, off or auto: whether sequences that begin alike read the keys and values of that beginning once', oneOf(['on', 'off', 'auto']), 'auto')
  addEngineFlags(command)
    .option('--plot <file>', 'write tokens per step as an SVG file')
    .option('--json', 'print the result as JSON instead of a table', false)
    .action(async (flags: BatchFlags) => { await runBatchBench(flags, context, open) })
}

async function runBatchBench (flags: BatchFlags, context: CommandContext, open: OpenEngineForBench): Promise<void> {
  const progress = new ProgressLine(context.stderr)
  const runner = await openRunner(flags, open, { context, progress })
  try {
    const budget = runner.limits.maxBatchedTokens
    const summaries: BatchSummary[] = []
    const plotted: PlottedRun[] = []
    for (const batch of await batchCases(flags, runner.limits.vocabSize)) {
      for (const policy of flags.policies) {
        const { prompts, outputTokens, kvBlocks, name } = batch
        const run = await runBatch({
          policy, prompts, outputTokens, kvBlocks, runner, now: () => performance.now() / 1000, onProgress: (done, total) => { progress.update(done, total, name === '' ? policy : `${name}, ${policy}`) }
        })
        summaries.push(summarize(batch, run, budget))
        plotted.push({ ...run, name })
      }
    }
    progress.clear()
    if (flags.plot !== undefined) await writeFile(flags.plot, stepPlot(plotted, budget))
    context.stdout.write(flags.json ? `${JSON.stringify({ date: new Date().toISOString(), settings: flags, limits: runner.limits, policies: summaries })}\n` : batchReportTable(summaries, !flags.dryRun))
  } finally {
    progress.clear()
    await runner[Symbol.asyncDispose]()
  }
}

async function openRunner (flags: BatchFlags, open: OpenEngineForBench, { context, progress }: { readonly context: CommandContext, readonly progress: ProgressLine }): Promise<ModelRunner> {
  const { maxNumSeqs: maxSequences, maxNumBatchedTokens: maxBatchedTokens, blockSize, seed, sharedAttention } = flags
  const maxModelLen = longestSequence(flags)
  if (flags.dryRun) {
    return idleRunner({ maxSequences, maxBatchedTokens, maxLogitRows: maxSequences, maxModelLen, blockSize, numKVBlocks: Math.max(...flags.kvBlocks ?? [DRY_KV_BLOCKS]), vocabSize: DRY_VOCABULARY })
  }
  const { engine } = await open({
    ...engineOptionsOf(flags, context),
    model: { type: 'synthetic', shape: flags.synthetic, seed },
    maxModelLen,
    maxSequences,
    sharedAttention: sharedAttention === 'auto' ? undefined : sharedAttention === 'on',
    onProgress: ({ done, total, detail }) => { progress.update(done, total, detail) }
  })
  return engine.runner
}
