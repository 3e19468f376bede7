import { rm, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { CommandContext, RegisterCommand } from '../cli/command-context.ts'
import { createDownloadDisplay } from '../cli/download-progress.ts'
import { engineProcessConfig } from '../cli/engine-options.ts'
import { createProgressDisplay } from '../cli/load-progress.ts'
import { silentLogger } from '../cli/logger.ts'
import { addSettings, readSettings } from '../cli/settings.ts'
import { untilSignal } from '../cli/until-signal.ts'
import { batchSettings, engineSettings, modelSettings } from '../config.ts'
import { startEngine } from '../generation/start-engine.ts'
import { httpConfigSchema } from '../http-config.ts'
import { kernelCacheFolder } from '../models/cache/index.ts'
import { resolveModel, textFolder } from '../models/index.ts'
import { generationEndpoints } from '../openai/generation-endpoint.ts'
import type { EndpointContext } from '../openai/generation-endpoint.ts'
import { ModelNames } from '../openai/model-names.ts'
import { backgroundObserver } from '../telemetry/background-observer.ts'
import { openTextService } from '../text/index.ts'
import { answerLines } from './answer-lines.ts'
import { batchProgress } from './batch-progress.ts'
import { BatchResults } from './batch-results.ts'
import { checkInput, endpointOf } from './check-input.ts'
import { foreignLine } from './foreign-line.ts'
import { LineRunner } from './line-runner.ts'
import { lockOutput } from './output-lock.ts'

export interface BatchEnvironment {
  /** The module the engine process runs. */
  readonly engineEntry: URL
}

/** `daybreak batch`: the requests of a file, answered into another, without a server. */
export function batchCommand (environment: BatchEnvironment): RegisterCommand {
  return (program, context) => {
    const command = program.command('batch')
      .summary('answer a file of requests')
      .description('Answers the requests of a JSONL file in the form of OpenAI\'s batches ({"custom_id", "method", "url", "body"}), in the order ' +
        'that takes the least work. Started again with the same files it goes on behind the requests that are answered; those that failed, ' +
        'which are in <output>.errors.jsonl, are tried again.')
      .argument('<input>', 'JSONL file of requests')
      .argument('<output>', 'JSONL file of answers')
      .addHelpText('after', '\nExit code: 0 when every request is answered, 1 when some failed, 2 when the files are not what they should be or another process writes the answers.')
    for (const section of [batchSettings, modelSettings, engineSettings]) addSettings(command, section)
    command.action(async (input: string, output: string) => {
      const ended = await untilSignal(context, async signal => await run(command, context, environment, { input, output }, signal))
      if (ended !== undefined && ended.result !== 0) context.exit(ended.result)
    })
  }
}

interface BatchPaths {
  readonly input: string
  readonly output: string
}

/** @returns the exit code */
async function run (command: Command, context: CommandContext, { engineEntry }: BatchEnvironment, { input, output }: BatchPaths, interrupted: AbortSignal): Promise<number> {
  const settings = { batch: readSettings(batchSettings, command, context.env), model: readSettings(modelSettings, command, context.env), engine: readSettings(engineSettings, command, context.env) }
  const http = httpConfigSchema.parse({})
  if (!await isFile(input)) {
    context.stderr.write(`daybreak: there is no file ${input}\n`)
    return 2
  }
  const endpoint = await endpointOf(input, http.bodyLimitBytes) ?? '/v1/chat/completions'
  const { lines, model, problems } = await checkInput(input, endpoint, { maxLines: Number.MAX_SAFE_INTEGER, maxLineBytes: http.bodyLimitBytes })
  if (problems.length > 0) {
    for (const { line, message } of problems) context.stderr.write(`${input}${line === null ? '' : `:${line}`}: ${message}\n`)
    return 2
  }
  const lock = await lockOutput(output)
  if ('usedBy' in lock) {
    context.stderr.write(`daybreak: ${lock.usedBy} is writing answers into ${output}; wait for it, or give a file of its own for these\n`)
    return 2
  }
  await using heldLock = lock
  const signal = AbortSignal.any([interrupted, heldLock.lost])
  const foreign = await foreignLine(output, new Set(lines.map(({ customId }) => customId)))
  if (foreign !== undefined) {
    context.stderr.write(`${output}:${foreign}: This line is no answer to a request of ${input}; give a file of its own for the answers.\n`)
    return 2
  }
  const errors = `${output}.errors.jsonl`
  // What failed before gets another try.
  await rm(errors, { force: true })
  await using results = await BatchResults.open({ output, errors }, lines.length)
  const progress = batchProgress(context.stderr, results.tally, () => performance.now())
  if (lines.every(line => results.isAnswered(line))) {
    context.stderr.write(`all ${lines.length} requests are answered in ${output} already\n`)
    await rm(errors, { force: true })
    return 0
  }
  const { id, source } = await resolveModel(settings.model.model, { env: context.env, progress: createDownloadDisplay(context.stderr), signal })
  await using text = disposable(await openTextService(await textFolder(source, context.env)), async service => { await service.close() })
  const loading = createProgressDisplay(context.stderr, silentLogger)
  await using engine = await startEngine({
    config: engineProcessConfig(settings.model, settings.engine, source, 'silent', kernelCacheFolder(context.env)),
    entry: engineEntry,
    onProgress: progress => { loading.update(progress) }
  }).finally(() => { loading.stop() })
  signal.throwIfAborted()
  // The command line says which model answers; by what name the requests call it is no reason to refuse them.
  const names = new ModelNames({ id: model ?? settings.model.synthetic ?? id, created: 0, ownedBy: 'daybreak' }, [])
  const runner = lineRunner({ config: http, generation: engine, text: text.value, names }, settings.batch.maxConcurrency)
  const stop = new AbortController()
  signal.addEventListener('abort', () => { stop.abort(signal.reason) }, { once: true })
  progress.start()
  try {
    await answerLines({
      batchId: 'batch',
      endpoint,
      path: input,
      lines,
      results,
      runner,
      maxTokensTogether: http.batchGroupTokens,
      onAnswer: () => { progress.update(results.tally) }
    }, stop)
  } finally {
    progress.end(results.tally)
  }
  if (results.hasErrors) context.stderr.write(`what failed is in ${errors}\n`)
  else await rm(errors, { force: true })
  return results.hasErrors ? 1 : 0
}

function lineRunner (endpoint: EndpointContext, maxConcurrency: number | undefined): LineRunner {
  const nothing = (): void => {}
  const { generation, text } = endpoint
  return new LineRunner({
    endpoints: generationEndpoints(endpoint),
    generation,
    text,
    observer: backgroundObserver({ promptScheduled: nothing, tokensGenerated: nothing }),
    sleep: async (ms, signal) => { await sleep(ms, undefined, { signal }) },
    maxConcurrency
  })
}

async function isFile (path: string): Promise<boolean> {
  return await stat(path).then(status => status.isFile(), () => false)
}

function disposable<Value> (value: Value, dispose: (value: Value) => Promise<void>): AsyncDisposable & { readonly value: Value } {
  return { value, [Symbol.asyncDispose]: async () => { await dispose(value) } }
}
