import { Option } from 'commander'
import type { Command } from 'commander'
import type { EngineOptions, ModelSource } from '@daybreak/engine'
import type { CommandContext } from '../../cli/command-context.ts'
import { createDownloadDisplay } from '../../cli/download-progress.ts'
import { kernelCacheFolder } from '../../models/cache/index.ts'
import { DEFAULT_MODEL, resolveModel } from '../../models/index.ts'
import { oneOf, wholeNumber } from '../flag-values.ts'

/** What every bench asks of the engine that it opens, under the server's names. */
export interface EngineFlags {
  readonly maxNumBatchedTokens: number
  readonly blockSize: number
  readonly dtype: EngineOptions['dtype']
  readonly adapter?: string
  readonly seed: number
}

export interface ModelFlags {
  readonly synthetic?: string
  readonly model?: string
}

export function addEngineFlags (command: Command): Command {
  return command
    .option('--max-num-batched-tokens <count>', 'tokens of one step at most', wholeNumber(16, 65_536), 2048)
    .option('--block-size <tokens>', 'tokens of a KV block', wholeNumber(1, 1024), 16)
    .option('--dtype <type>', 'storage: auto, f16 or f32', oneOf(['auto', 'f16', 'f32']), 'auto')
    .option('--adapter <name>', "part of the GPU's name")
    .option('--seed <number>', 'seed of prompts and synthetic weights', wholeNumber(0), 0)
}

export function addModelFlags (command: Command): Command {
  return command
    .addOption(new Option('--synthetic <shape>', 'random weights of a named shape, e.g. llama-3.2-1b').conflicts('model'))
    .option('--model <nameOrDirectory>', `model to load, built-in, owner/name on the Hugging Face Hub, a directory or a .gguf file (default: ${DEFAULT_MODEL})`)
}

/** The engine's options that the flags decide; products are chosen as the server chooses them, so that both run the same kernels. */
export function engineOptionsOf ({ maxNumBatchedTokens, blockSize, dtype, adapter }: EngineFlags, { env }: Pick<CommandContext, 'env'>): Pick<EngineOptions, 'dtype' | 'adapter' | 'debug' | 'blockSize' | 'kvCacheBytes' | 'maxBatchedTokens' | 'tuningFolder'> {
  return { dtype, adapter, debug: false, blockSize, kvCacheBytes: undefined, maxBatchedTokens: maxNumBatchedTokens, tuningFolder: kernelCacheFolder(env) }
}

/** What `--synthetic` or `--model` names; the default model where neither is given. */
export async function modelOf ({ synthetic, model, seed }: ModelFlags & Pick<EngineFlags, 'seed'>, context: CommandContext): Promise<{ readonly name: string, readonly source: ModelSource }> {
  if (synthetic !== undefined) return { name: `synthetic ${synthetic}`, source: { type: 'synthetic', shape: synthetic, seed } }
  const resolved = await resolveModel(model ?? DEFAULT_MODEL, { env: context.env, progress: createDownloadDisplay(context.stderr) })
  return { name: resolved.id, source: resolved.source }
}
