import { execFile } from 'node:child_process'
import { delimiter, dirname } from 'node:path'
import { z } from 'zod'
import { PackageLookupError } from './errors.ts'

export interface PackageLocation {
  readonly url: string
  /** Of the tarball, in hex; undefined where the registry gives none. */
  readonly sha512: string | undefined
}

/** How a program ended. `stdout` is what it wrote; `failure` says why there is no exit code. */
export type ProgramResult =
  | { readonly exitCode: number, readonly stdout: string }
  | { readonly failure: 'missing' | 'timeout' | 'interrupted' }

/** Runs the npm client. */
export type RunNpm = (args: readonly string[], signal: AbortSignal | undefined) => Promise<ProgramResult>

const TIMEOUT_MS = 60_000
const MAX_OUTPUT_BYTES = 1 << 20
const located = z.object({ 'dist.tarball': z.url({ protocol: /^https?$/ }), 'dist.integrity': z.string().optional() })
const refused = z.object({ error: z.object({ code: z.string().nullish(), summary: z.string().nullish() }) })
const notFound = new Set(['E404', 'ETARGET'])
const noNetwork = /^(ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED)$/

/**
 * Asks the npm client where a package's tarball lies, so that the user's own settings (registry, mirror, proxy, credentials) decide.
 * @param name with its exact version, `name@1.2.3`
 * @throws PackageLookupError; the signal's reason when it aborts (rejects)
 */
export async function locatePackage (name: string, runNpm: RunNpm, signal?: AbortSignal): Promise<PackageLocation> {
  const result = await runNpm(['view', name, 'dist.tarball', 'dist.integrity', '--json'], signal)
  signal?.throwIfAborted()
  if ('failure' in result) throw lookupError(name, result.failure)
  const answer = parsed(result.stdout)
  const location = located.safeParse(answer)
  if (result.exitCode === 0 && location.success) {
    const { 'dist.tarball': url, 'dist.integrity': integrity } = location.data
    return { url, sha512: sha512Of(integrity) }
  }
  const { code, summary } = refused.safeParse(answer).data?.error ?? {}
  if (notFound.has(code ?? '')) {
    throw new PackageLookupError({ package: name, reason: 'not-found', problem: 'the npm registry has no such package' })
  }
  if (noNetwork.test(code ?? '')) {
    throw new PackageLookupError({ package: name, reason: 'unreachable', problem: `the npm registry cannot be reached (${code}); is there a network?` })
  }
  const problem = result.exitCode === 0 ? 'npm view gave no location' : `npm view failed with ${code ?? `exit code ${result.exitCode}`}`
  throw new PackageLookupError({ package: name, reason: 'failed', problem: typeof summary === 'string' ? `${problem}: ${summary}` : problem })
}

/** The `npm` of the search path, or the one beside the running Node. */
export function npmClient (env: Readonly<Record<string, string | undefined>>): RunNpm {
  const searchPath = [env['PATH'], dirname(process.execPath)].filter(part => part !== undefined && part !== '').join(delimiter)
  // npm's own patience is more than a minute, which nobody without a network wants to wait for.
  const impatience = { npm_config_fetch_retries: '1', npm_config_fetch_retry_mintimeout: '2000', npm_config_update_notifier: 'false' }
  return async (args, signal) => await new Promise(resolve => {
    const options = {
      env: { ...impatience, ...env, PATH: searchPath },
      timeout: TIMEOUT_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
      windowsHide: true,
      // On Windows npm is a batch file, which only a shell can start; the arguments are this module's own.
      shell: process.platform === 'win32',
      ...(signal !== undefined && { signal })
    }
    execFile('npm', args, options, (error, stdout) => {
      if (error === null) resolve({ exitCode: 0, stdout })
      else if (signal?.aborted === true) resolve({ failure: 'interrupted' })
      else if (error.code === 'ENOENT') resolve({ failure: 'missing' })
      else if (error.killed === true) resolve({ failure: 'timeout' })
      else resolve({ exitCode: typeof error.code === 'number' ? error.code : 1, stdout })
    })
  })
}

function lookupError (name: string, failure: 'missing' | 'timeout' | 'interrupted'): PackageLookupError {
  switch (failure) {
    case 'missing':
      return new PackageLookupError({ package: name, reason: 'npm-missing', problem: 'npm, which comes with Node, is needed to fetch this model and is not on the search path' })
    case 'timeout':
      return new PackageLookupError({ package: name, reason: 'unreachable', problem: `npm view gave no answer within ${TIMEOUT_MS / 1000} seconds` })
    case 'interrupted':
      return new PackageLookupError({ package: name, reason: 'failed', problem: 'npm view was interrupted' })
  }
}

/** The npm client writes its answer, and its error, as JSON. */
function parsed (stdout: string): unknown {
  try {
    return JSON.parse(stdout)
  } catch {
    return undefined
  }
}

/** Subresource Integrity: `sha512-` and base64, perhaps among other hashes. */
function sha512Of (integrity: string | undefined): string | undefined {
  const base64 = /(?:^|\s)sha512-([A-Za-z0-9+/]{86}==)/.exec(integrity ?? '')?.[1]
  return base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString('hex')
}
