import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** How the Hub is reached and where its files are kept, as huggingface_hub reads them from the environment. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Absolute: the folder of `models--owner--name`. It may not exist. */
  readonly cacheFolder: string
  /** No request may be made. */
  readonly isOffline: boolean
  /** Sent to the endpoint's own host only. */
  readonly token: string | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * From `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`, `HF_HUB_OFFLINE`, and `HF_TOKEN` or the token that
 * `hf auth login` has stored (`HF_TOKEN_PATH`, else `$HF_HOME/token`).
 * @see https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 */
export async function readHubSettings (env: Environment): Promise<HubSettings> {
  const home = pathIn(env, 'HF_HOME') ?? join(pathIn(env, 'XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface')
  return {
    endpoint: (textIn(env, 'HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''),
    cacheFolder: pathIn(env, 'HF_HUB_CACHE') ?? pathIn(env, 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'),
    isOffline: isOn(env, 'HF_HUB_OFFLINE') || isOn(env, 'TRANSFORMERS_OFFLINE'),
    token: tokenIn(env['HF_TOKEN']) ?? tokenIn(env['HUGGING_FACE_HUB_TOKEN']) ?? await storedToken(pathIn(env, 'HF_TOKEN_PATH') ?? join(home, 'token'))
  }
}

function textIn (env: Environment, name: string): string | undefined {
  const text = env[name]?.trim()
  return text === '' ? undefined : text
}

function pathIn (env: Environment, name: string): string | undefined {
  const path = textIn(env, name)
  return path === undefined ? undefined : resolve(path.replace(/^~(?=$|[\\/])/, () => homedir()))
}

function isOn (env: Environment, name: string): boolean {
  return /^(1|true|yes|on)$/i.test(textIn(env, name) ?? '')
}

async function storedToken (path: string): Promise<string | undefined> {
  return tokenIn(await readFile(path, 'utf8').catch(() => ''))
}

/** Line breaks get into tokens when they are pasted, and no header may have one. */
function tokenIn (text = ''): string | undefined {
  const token = text.replaceAll(/[\r\n]/g, '').trim()
  return token === '' ? undefined : token
}
