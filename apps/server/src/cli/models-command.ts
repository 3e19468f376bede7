import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { carryOut, listCachedModels, modelCacheFolder, planDeletion } from '../models/cache/index.ts'
import type { CachedModel, CacheFolders } from '../models/cache/index.ts'
import { readHubSettings } from '../models/hub/index.ts'
import { BUILT_IN_MODELS, MODEL_ALIASES, resolveModel } from '../models/index.ts'
import type { ModelAlias } from '../models/index.ts'
import { formatByteSize } from './byte-size.ts'
import type { CommandContext, RegisterCommand } from './command-context.ts'
import { createDownloadDisplay } from './download-progress.ts'
import { cachedModelsTable } from './models-table.ts'
import { SettingError } from './settings.ts'
import { untilSignal } from './until-signal.ts'

export interface ModelsCommandEnvironment {
  readonly aliases: readonly ModelAlias[]
  /** Asks a yes-or-no question; undefined where nobody can answer. */
  readonly confirm: ((question: string) => Promise<boolean>) | undefined
}

interface MaybeTerminal {
  readonly isTTY?: boolean
}

interface JsonFlag {
  readonly json?: true
}

/** `daybreak models`: what has been downloaded, and getting and deleting it. */
export function modelsCommand (environment: ModelsCommandEnvironment): RegisterCommand {
  return (program, context) => {
    const models = program.command('models')
      .summary('list, download and delete models')
      .description("Models in Hugging Face's cache (HF_HOME, HF_HUB_CACHE), which other programs share, and in Daybreak's own (DAYBREAK_CACHE_DIR)")
    addList(models, context)
    models.command('download')
      .description('download a model, so that serving it needs no network')
      .argument('<name>', `${['owner/name[@revision]', 'owner/name:QUANT', ...environment.aliases.map(({ name }) => name)].join(', ')}`)
      .option('--json', 'print where it is as JSON')
      .action(async (name: string, { json }: JsonFlag) => { await download(name, json === true, context, environment) })
    models.command('delete')
      .description('delete a downloaded model; files that another revision uses stay')
      .argument('<name>', 'a name of the list, alone (all revisions) or with @revision: branch, tag or commit')
      .option('--yes', 'do not ask')
      .option('--json', 'print what was deleted as JSON')
      .action(async (name: string, { yes, json }: JsonFlag & { readonly yes?: true }) => { await remove(name, yes === true, json === true, context, environment) })
  }
}

/** Asks on the terminal; undefined when there is none. */
export function askOnTerminal (input: NodeJS.ReadableStream & MaybeTerminal, output: NodeJS.WritableStream & MaybeTerminal): ModelsCommandEnvironment['confirm'] {
  if (input.isTTY !== true || output.isTTY !== true) return undefined
  return async question => {
    const lines = createInterface({ input, output })
    try {
      // Ctrl-C and the end of the input close it, which is no yes; some Nodes then leave the question open for ever.
      const closed = once(lines, 'close').then(() => undefined)
      const answer = await Promise.race([lines.question(`${question} [y/N] `).catch(() => undefined), closed])
      if (answer === undefined) output.write('\n')
      return /^y(es)?$/i.test(answer?.trim() ?? '')
    } finally {
      lines.close()
    }
  }
}

function addList (models: Command, { env, stdout }: CommandContext): void {
  models.command('list', { isDefault: true })
    .description('list what has been downloaded')
    .option('--json', 'print the list as JSON')
    .action(async ({ json }: JsonFlag) => {
      const folders = await cacheFolders(env)
      const found = await listCachedModels(folders)
      stdout.write(json === true ? `${JSON.stringify(found.map(jsonModel), undefined, 2)}\n` : cachedModelsTable(found, folders))
    })
}

async function download (name: string, isJson: boolean, context: CommandContext, { aliases }: ModelsCommandEnvironment): Promise<void> {
  const { env, stdout, stderr } = context
  const resolved = await untilSignal(context, async signal => await resolveModel(name, { env, aliases, progress: createDownloadDisplay(stderr), signal }))
  if (resolved === undefined) return
  const { id, source } = resolved.result
  stdout.write(isJson ? `${JSON.stringify({ id, ...source }, undefined, 2)}\n` : `${id} is at ${source.path}\n`)
}

async function remove (given: string, isSure: boolean, isJson: boolean, { env, stdout, exit }: CommandContext, { confirm }: ModelsCommandEnvironment): Promise<void> {
  if (Object.hasOwn(BUILT_IN_MODELS, given)) throw new SettingError({ setting: 'name', value: given, allowed: 'a downloaded model; this one is part of the program' })
  const [name = given, revision] = given.split('@', 2)
  const deletion = await planDeletion(name, revision, await cacheFolders(env))
  const what = `${deletion.models.map(label).join(', ')} (${formatByteSize(deletion.bytes)})`
  if (!isSure) {
    if (confirm === undefined) throw new SettingError({ setting: 'delete', value: given, allowed: '--yes where there is no terminal to ask on' })
    if (!await confirm(`Delete ${what}?`)) {
      stdout.write('nothing was deleted\n')
      exit(1)
      return
    }
  }
  await carryOut(deletion)
  stdout.write(isJson ? `${JSON.stringify({ deleted: deletion.models.map(jsonModel), freedBytes: deletion.bytes }, undefined, 2)}\n` : `deleted ${what}\n`)
}

async function cacheFolders (env: CommandContext['env']): Promise<CacheFolders> {
  return { hub: (await readHubSettings(env)).cacheFolder, aliases: modelCacheFolder(env) }
}

function label ({ name, commit, refs }: CachedModel): string {
  const revision = refs[0] ?? commit?.slice(0, 12)
  return revision === undefined ? name : `${name}@${revision}`
}

/** For `--json`: stable names, times as ISO 8601, what is not known as null. */
function jsonModel ({ name, origin, commit, refs, bytes, lastModified, lastUsed, missing, path }: CachedModel): object {
  return { name, origin, commit: commit ?? null, refs, bytes, lastModified: lastModified.toISOString(), lastUsed: lastUsed.toISOString(), complete: missing.length === 0, missing, path }
}

/** With the aliases there are, asking on this process's terminal. */
export const registerModelsCommand: RegisterCommand = (program, context) => {
  modelsCommand({ aliases: MODEL_ALIASES, confirm: askOnTerminal(process.stdin, process.stderr) })(program, context)
}
