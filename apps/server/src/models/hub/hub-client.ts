import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { HostUnreachableError, HttpStatusError, retryDelayMs, unreachable } from '../download/index.ts'
import { explainFailure, HubError } from './errors.ts'
import type { HubSettings } from './hub-settings.ts'
import { isSafePath } from './repo-file.ts'
import type { RepoFile } from './repo-file.ts'

/** Longest an answer may take. Nothing large is asked for, and what is in the cache can be had without one. */
const ANSWER_TIMEOUT_MS = 30_000

const commitHash = z.string().regex(/^[0-9a-f]{40}$/)
const treeEntry = z.looseObject({
  type: z.string(),
  path: z.string(),
  size: z.int().nonnegative(),
  oid: z.string().regex(/^[0-9a-f]{40}$/),
  lfs: z.looseObject({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() }).nullish()
})

export interface HubClientOptions {
  readonly settings: Pick<HubSettings, 'endpoint' | 'token'>
  readonly fetch: typeof globalThis.fetch
  readonly sleep?: ((ms: number) => Promise<void>) | undefined
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number | undefined
}

/** Questions about one repository. Overloaded and rate-limiting servers are asked again; no network, or silence, is told at once. */
export class HubClient {
  readonly #options: HubClientOptions
  readonly #repo: string

  constructor (repo: string, options: HubClientOptions) {
    this.#repo = repo
    this.#options = options
  }

  /**
   * The commit that a branch, tag or shortened commit stands for now.
   * @throws HubError (rejects)
   */
  async commitOf (revision: string): Promise<string> {
    const { sha } = await this.#ask(revision, async shared => {
      const { modelInfo } = await import('@huggingface/hub')
      return await modelInfo({ ...shared, name: this.#repo, revision, additionalFields: ['sha'] })
    })
    const parsed = commitHash.safeParse(sha)
    if (!parsed.success) throw this.#malformed('its commit', parsed.error)
    return parsed.data
  }

  /**
   * All files of a commit, in all folders, except those whose path would lead out of a folder.
   * @throws HubError (rejects)
   */
  async files (commit: string): Promise<RepoFile[]> {
    const entries = await this.#ask(commit, async shared => {
      const { listFiles } = await import('@huggingface/hub')
      const found: unknown[] = []
      for await (const entry of listFiles({ ...shared, repo: { type: 'model', name: this.#repo }, revision: commit, recursive: true })) found.push(entry)
      return found
    })
    const parsed = z.array(treeEntry).safeParse(entries)
    if (!parsed.success) throw this.#malformed('its list of files', parsed.error)
    return parsed.data.filter(({ type, path }) => type === 'file' && isSafePath(path))
      .map(({ path, size, oid, lfs }) => lfs == null ? { path, bytes: size, etag: oid, isLfs: false } : { path, bytes: lfs.size, etag: lfs.oid, isLfs: true })
  }

  /** Where a file's bytes are; the Hub redirects large ones. */
  urlOf (commit: string, path: string): string {
    return `${this.#options.settings.endpoint}/${this.#repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`
  }

  /** What `fetch` sends with every request; it drops it when it follows a redirect to another host. */
  get headers (): Readonly<Record<string, string>> {
    const { token } = this.#options.settings
    return token === undefined ? {} : { authorization: `Bearer ${token}` }
  }

  /** A failed request about this repository, explained. */
  explain (error: unknown, revision: string): unknown {
    const { settings: { endpoint, token } } = this.#options
    return explainFailure(error, { endpoint, repo: this.#repo, revision, hasToken: token !== undefined })
  }

  async #ask<Answer> (revision: string, question: (shared: { readonly hubUrl: string, readonly fetch: typeof globalThis.fetch }) => Promise<Answer>): Promise<Answer> {
    const { settings: { endpoint }, signal, sleep = async (ms: number) => { await delay(ms, undefined, signal === undefined ? {} : { signal }) } } = this.#options
    for (let numFailed = 1; ; numFailed += 1) {
      try {
        return await question({ hubUrl: endpoint, fetch: this.#fetch })
      } catch (error) {
        const delayMs = error instanceof HostUnreachableError ? undefined : retryDelayMs(error, numFailed)
        // A page in the place of an answer: what a network shows who has not logged in to it.
        if (error instanceof SyntaxError) throw this.#malformed('this model', error)
        if (delayMs === undefined) throw this.explain(error, revision)
        await sleep(delayMs)
      }
    }
  }

  /**
   * The library knows neither the Hub's error codes nor tokens that do not begin with `hf_`: both are seen to here. It asks for the next
   * page of a list wherever the last one says, and the token is for the Hub alone.
   */
  readonly #fetch: typeof globalThis.fetch = async (input, init) => {
    const { fetch, settings: { endpoint } } = this.#options
    const url = input instanceof Request ? input.url : String(input)
    const isHub = URL.canParse(url) && URL.canParse(endpoint) && new URL(url).origin === new URL(endpoint).origin
    const headers = { ...Object.fromEntries(new Headers(init?.headers)), ...(isHub && this.headers) }
    const signal = this.#patience()
    let response: Response
    try {
      response = await fetch(input, { ...init, headers, signal })
      // All of it, so that an answer that breaks off is no answer.
      const body = await response.arrayBuffer()
      if (response.ok) return new Response(body, { status: response.status, headers: response.headers })
    } catch (cause) {
      throw unreachable(url, cause)
    }
    throw HttpStatusError.of(url, response, Date.now())
  }

  #patience (): AbortSignal {
    const { signal, timeoutMs = ANSWER_TIMEOUT_MS } = this.#options
    const patience = AbortSignal.timeout(timeoutMs)
    return signal === undefined ? patience : AbortSignal.any([signal, patience])
  }

  #malformed (what: string, cause: unknown): HubError {
    const { endpoint } = this.#options.settings
    return new HubError('HUB_ANSWER_MALFORMED', `${this.#repo}: what ${endpoint} says about ${what} is malformed; is HF_ENDPOINT a Hugging Face Hub?`, { repo: this.#repo, endpoint }, { cause })
  }
}
