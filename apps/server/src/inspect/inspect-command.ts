import type { Command } from 'commander'
import type { EngineOptions } from '@daybreak/engine'
import type { CommandContext, RegisterCommand } from '../cli/command-context.ts'
import { createDownloadDisplay } from '../cli/download-progress.ts'
import { engineOptions } from '../cli/engine-options.ts'
import { addSettings, readSettings } from '../cli/settings.ts'
import type { SettingsSection } from '../cli/settings.ts'
import { engineSettings, inspectSettings } from '../config.ts'
import { textFolder } from '../models/index.ts'
import type { ModelSource } from '../models/index.ts'
import { findModel } from './find-model.ts'
import { inspectReport } from './inspect-report.ts'
import type { InspectReport } from './inspect-report.ts'
import { printedReport } from './printed-report.ts'
import { readTextFacts } from './text-facts.ts'

/** Of the engine's settings those that decide how much memory it takes; the adapter is among the device's. */
const limitSettings = {
  title: engineSettings.title,
  schema: engineSettings.schema.pick({ dtype: true, maxModelLen: true, maxNumSeqs: true, maxNumBatchedTokens: true, blockSize: true, kvCacheMemory: true })
} satisfies SettingsSection

/** `daybreak inspect`: what a model is and whether it fits, before anything of it is loaded. */
export const registerInspectCommand: RegisterCommand = (program, context) => {
  const command = program.command('inspect')
    .summary('say what a model is, and whether it fits the GPU')
    .description('Says what a model is, what it takes and whether it fits the GPU, as serving it with the same flags would find it. No weight is ' +
      'read. Of a model on the Hugging Face Hub that is not in the cache only its small files and the headers of its weights are fetched; ' +
      'a GGUF model has to be downloaded first.')
    .argument('<model>', 'what --model of serve takes: a built-in name, owner/name on the Hub, a directory or a .gguf file')
    .option('--json', 'print the report as JSON; its keys stay')
  addSettings(command, limitSettings)
  addSettings(command, inspectSettings)
  command
    .option('--no-adapter', 'open no GPU, and assume one that computes in f16')
    .action(async (model: string, { json }: { readonly json?: true }) => {
      const report = await inspect(model, command, context)
      context.stdout.write(json === true ? `${JSON.stringify(report, undefined, 2)}\n` : printedReport(report))
    })
}

async function inspect (name: string, command: Command, { env, stderr }: CommandContext): Promise<InspectReport> {
  const useAdapter = command.getOptionValue('adapter') !== false
  // What is left of --no-adapter is no name of one.
  if (!useAdapter) command.setOptionValueWithSource('adapter', undefined, 'default')
  const { deviceMemory } = readSettings(inspectSettings, command, env)
  const engine = readSettings(engineSettings, command, env)
  await using found = await findModel(name, { env, progress: createDownloadDisplay(stderr) })
  const { id, source, downloadBytes } = found
  const text = await readTextFacts(await textFolder(source, env))
  const options = engineOptions({ model: name, seed: 0 }, engine, source)
  const inspection = await inspectOnEngine(source, options, { useAdapter, deviceBytes: deviceMemory })
  return inspectReport({
    id,
    path: downloadBytes === undefined ? source.path : null,
    downloadBytes: downloadBytes ?? null,
    kvCacheBytes: options.kvCacheBytes ?? null
  }, inspection, text)
}

/** Loads the GPU code only now: `--help` does without. */
async function inspectOnEngine (model: ModelSource, options: Omit<EngineOptions, 'onProgress'>, device: { readonly useAdapter: boolean, readonly deviceBytes: number | undefined }) {
  const { inspectModel } = await import('@daybreak/engine')
  return await inspectModel({ ...options, ...device, model })
}
