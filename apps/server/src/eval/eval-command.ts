import { InvalidArgumentError, Option, type Command } from 'commander'
import type { EngineOptions } from '@daybreak/engine'
import type { CommandContext } from '../cli/command-context.ts'
import { createDownloadDisplay } from '../cli/download-progress.ts'
import { createProgressDisplay } from '../cli/load-progress.ts'
import { silentLogger } from '../cli/logger.ts'
import { DEFAULT_MODEL, resolveModel, textFolder } from '../models/index.ts'
import type { ModelSource } from '../models/index.ts'
import { startEngine } from '../generation/start-engine.ts'
import { openTextService, type TextService } from '../text/index.ts'
import type { Answering } from './answering.ts'
import { evalEngineConfig } from './engine-config.ts'
import { progressLine } from './progress-line.ts'
import { readRecordedRates } from './recorded-rates.ts'
import { formatReport, type EvalReport } from './report.ts'
import { EVAL_DEFAULTS, evaluate } from './run-eval.ts'
import { ServerAnswering } from './server-answering.ts'
import { ServiceAnswering } from './service-answering.ts'
import { TASK_FAMILIES } from './task-list.ts'

interface EvalCommandOptions {
  readonly baseUrl: string
  readonly inProcess?: true
  readonly model: string | undefined
  readonly tasks: readonly string[]
  readonly samples: number | undefined
  readonly lengths: readonly number[] | undefined
  readonly depths: readonly number[]
  readonly maxContext: number
  readonly seed: number
  readonly concurrency: number
  readonly json?: true
  readonly dtype: EngineOptions['dtype']
  readonly adapter: string | undefined
  readonly prefixCaching: boolean
}

/** `daybreak eval`: the embedded model's tasks, against a running server or an engine of its own. */
export function registerEvalCommand (program: Command, context: CommandContext): void {
  program.command('eval')
    .summary('measure answer quality: exact-match rates of the embedded model\'s tasks')
    .description('Asks seeded questions (keyed lines and numbers in long documents, JSON, tools, arithmetic, strings, memory, talk) and ' +
      'counts the answers that are exactly right. Judges whatever changes the arithmetic: formats, sparse attention, offloading.')
    .addOption(new Option('--base-url <url>', 'the server to ask').default('http://127.0.0.1:8000').conflicts('inProcess'))
    .option('--in-process', 'start an engine for this run instead of asking a server')
    .option('--model <name>', `with a server: the model's name there, else its first; in process: a built-in name, owner/name on the Hugging Face Hub, a directory or a .gguf file (${DEFAULT_MODEL})`)
    .option('--tasks <list>', `of ${TASK_FAMILIES.join(', ')}, or single ones such as lines_2048`, list, EVAL_DEFAULTS.tasks)
    .option('--samples <n>', 'documents per task (24 of lines, 40 of needles, 200 of the others)', positiveInteger)
    .option('--lengths <list>', 'tokens of the lines and needle documents', positiveIntegers)
    .option('--depths <list>', 'where needles lie, in percent of the document; one needle each', percentages, EVAL_DEFAULTS.depths)
    .option('--max-context <n>', 'leave out lengths beyond this', positiveInteger, EVAL_DEFAULTS.maxContext)
    .option('--seed <n>', 'of the questions', nonNegativeInteger, EVAL_DEFAULTS.seed)
    .option('--concurrency <n>', 'documents at a time', positiveInteger, EVAL_DEFAULTS.concurrency)
    .option('--json', 'print the report as JSON')
    .addOption(new Option('--dtype <type>', 'in process: how weights are stored').choices(['auto', 'f16', 'f32']).default('auto'))
    .option('--adapter <name>', 'in process: part of the adapter\'s name')
    .option('--no-prefix-caching', 'in process: compute every prompt from its start')
    .action(async (options: EvalCommandOptions) => { await runCommand(options, context) })
}

async function runCommand (options: EvalCommandOptions, context: CommandContext): Promise<void> {
  const name = options.inProcess === true ? options.model ?? DEFAULT_MODEL : DEFAULT_MODEL
  const { source } = await resolveModel(name, { env: context.env, progress: createDownloadDisplay(context.stderr) })
  const directory = await textFolder(source, context.env)
  const text = await openTextService(directory)
  try {
    const report = options.inProcess === true
      ? await askOwnEngine(source, text, options, context)
      : await ask(await ServerAnswering.connect(options.baseUrl, options.model), text, options, context)
    const printed = options.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : formatReport(report, await readRecordedRates(directory))
    context.stdout.write(printed)
  } finally {
    await text.close()
  }
}

async function askOwnEngine (model: ModelSource, text: TextService, options: EvalCommandOptions, context: CommandContext): Promise<EvalReport> {
  const { dtype, adapter, maxContext, concurrency, prefixCaching } = options
  const loading = createProgressDisplay(context.stderr, silentLogger)
  const engine = await startEngine({
    config: evalEngineConfig({ model, dtype, adapter, maxModelLen: maxContext, maxSequences: concurrency, prefixCaching }),
    onProgress: progress => { loading.update(progress) }
  }).finally(() => { loading.stop() })
  try {
    return await ask(new ServiceAnswering(engine, text), text, options, context)
  } finally {
    await engine[Symbol.asyncDispose]()
  }
}

async function ask (target: Answering, text: TextService, options: EvalCommandOptions, context: CommandContext): Promise<EvalReport> {
  const { tasks, samples, lengths, depths, maxContext, seed, concurrency } = options
  const progress = progressLine(context.stderr)
  try {
    return await evaluate(target, text, { tasks, samples, lengths, depths, maxContext, seed, concurrency, onProgress: progress.update })
  } finally {
    progress.clear()
  }
}

const list = (value: string): string[] => value.split(',').map(item => item.trim()).filter(item => item !== '')
const positiveIntegers = (value: string): number[] => list(value).map(positiveInteger)

function percentages (value: string): number[] {
  return list(value).map(item => {
    const percent = Number(item)
    if (!(percent >= 0 && percent <= 100)) throw new InvalidArgumentError('percentages from 0 to 100 are wanted.')
    return percent / 100
  })
}

function positiveInteger (value: string): number {
  const number = nonNegativeInteger(value)
  if (number === 0) throw new InvalidArgumentError('a number from 1 is wanted.')
  return number
}

function nonNegativeInteger (value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError('a whole number is wanted.')
  return Number(value)
}
