import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import type { AdapterReport, KernelBench, KernelBenchReport } from '@daybreak/engine'
import type { CommandContext } from '../../cli/command-context.ts'
import { kernelCacheFolder } from '../../models/cache/index.ts'
import { listOf, oneOf, wholeNumber, wholeNumbers } from '../flag-values.ts'
import { ProgressLine } from '../progress-line.ts'
import { KERNEL_KINDS, kernelBenchPlan } from './kernel-bench-plan.ts'
import type { KernelsFlags } from './kernel-bench-plan.ts'
import { kernelLimits } from './kernel-limits.ts'
import { kernelsReportTable } from './kernels-report-table.ts'

/** Opens the device. */
export type OpenKernelBench = (adapter: string | undefined) => Promise<KernelBench>

/** Adds `bench kernels`. */
export function addKernelsCommand (bench: Command, context: CommandContext, open: OpenKernelBench): void {
  bench.command('kernels')
    .description('measure each kernel of a step against what the adapter can do, measured in the same run; defaults in brackets are for a software adapter')
    .option('--synthetic <shape>', 'whose layers to measure (default: llama-3.2-1b [daybreak-mini])')
    .option('--rows <counts>', 'rows of products, norms and rotation (default: 1,4,8,16,32,64,128,512,2048 [1,4,16])', wholeNumbers(1, 65_535))
    .option('--contexts <tokens>', 'tokens of a sequence, for attention (default: 576,2048 [64])', wholeNumbers(1, 10_000_000))
    .option('--batches <counts>', 'sequences that decode together, for attention and sampling (default: 1,32,128 [1,4])', wholeNumbers(1, 65_535))
    .option('--prefix <tokens>', 'with sequences that begin alike, too: tokens that they share, attended together and apart, in contexts that are longer', wholeNumber(1, 10_000_000))
    .option('--degree <count>', 'sequences that share one such beginning', wholeNumber(2, 65_535), 16)
    .addOption(new Option('--only <kinds>', `some of ${KERNEL_KINDS.join(', ')}`).argParser(listOf(KERNEL_KINDS)).default(KERNEL_KINDS, 'all'))
    .option('--dtype <type>', 'storage: auto, f16 or f32', oneOf(['auto', 'f16', 'f32']), 'auto')
    .option('--deterministic', 'only kernels whose order of summation is the same for every batch', false)
    .option('--tune', 'first measure anew which products are fastest here, and keep that for servers', false)
    .option('--save-known <file>', "only measure which products are fastest here, for every named shape or those of --synthetic (a,b), and write that as this adapter's module of packages/engine/src/tuning/known")
    .option('--adapter <name>', "part of the GPU's name")
    .option('--json', 'print the result as JSON instead of tables', false)
    .action(async (flags: KernelsFlags) => { await runKernelsBench(flags, context, open) })
}

async function runKernelsBench (flags: KernelsFlags, context: CommandContext, open: OpenKernelBench): Promise<void> {
  const progress = new ProgressLine(context.stderr)
  await using bench = await open(flags.adapter)
  try {
    if (flags.saveKnown !== undefined) {
      await saveKnown(bench, flags.saveKnown, flags, context, progress)
      return
    }
    const plan = kernelBenchPlan(flags, bench.adapter.software)
    const report = await bench.run({
      ...plan,
      // As the server does, so that both run the same kernels.
      tuningFolder: kernelCacheFolder(context.env),
      onProgress: (done, total, detail) => { progress.update(done, total, detail) }
    })
    progress.clear()
    context.stdout.write(flags.json ? `${JSON.stringify(jsonReport(bench.adapter, plan, report))}\n` : kernelsReportTable(bench.adapter, plan.shape, report))
  } finally {
    progress.clear()
  }
}

async function saveKnown (bench: KernelBench, file: string, { synthetic }: KernelsFlags, context: CommandContext, progress: ProgressLine): Promise<void> {
  const { adapter, numProducts, source } = await bench.tune({
    shapes: synthetic?.split(','),
    folder: kernelCacheFolder(context.env),
    onProgress: (done, total, detail) => { progress.update(done, total, detail) }
  })
  progress.clear()
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, source)
  context.stdout.write(`${adapter}: ${numProducts} products in ${file}; packages/engine/src/tuning/known-adapters.ts lists such files\n`)
}

/** Every kernel with its limits beside it. */
function jsonReport ({ name, vendor, architecture, driver, backend, software }: AdapterReport, settings: object, { kernels, ...report }: KernelBenchReport): object {
  return {
    date: new Date().toISOString(),
    adapter: { name, vendor, architecture, driver, backend, software },
    settings,
    ...report,
    kernels: kernels.map(kernel => kernel.skipped === undefined ? { ...kernel, ...kernelLimits(kernel, report.ceilings) } : kernel)
  }
}
