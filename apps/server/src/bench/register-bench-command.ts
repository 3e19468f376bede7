import type { RegisterCommand } from '../cli/command-context.ts'
import { addBatchCommand } from './batch/batch-command.ts'
import { addEngineCommand } from './engine/engine-command.ts'
import { addKernelsCommand } from './kernels/kernels-command.ts'
import { openBenchEngine } from './open-bench-engine.ts'
import { openKernelBench } from './open-kernel-bench.ts'
import { benchServe } from './serve/bench-serve.ts'
import { addServeFlags } from './serve/serve-flags.ts'
import type { ServeFlags } from './serve/serve-flags.ts'
import { addSwapCommand } from './swap/swap-command.ts'

/** Adds `bench serve`, `bench engine`, `bench kernels`, `bench batch` and `bench swap`. */
export const registerBenchCommand: RegisterCommand = (program, context) => {
  const bench = program.command('bench').description('measure a running server, or the engine alone')
  addServeFlags(bench.command('serve').description("measure a running server under load; flags and JSON keys are those of vLLM's bench serve"))
    .action(async (flags: ServeFlags) => { await benchServe(flags, context) })
  addEngineCommand(bench, context, openBenchEngine)
  addKernelsCommand(bench, context, openKernelBench)
  addBatchCommand(bench, context, openBenchEngine)
  addSwapCommand(bench, context, openBenchEngine)
}
