import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { FaultyFileServer } from './faulty-file-server.ts'
import type { Fault } from './faulty-file-server.ts'

export interface FakeRepo {
  /** 40 hex digits. */
  readonly commit: string
  readonly files: Readonly<Record<string, Uint8Array | string>>
  /** Branches and tags that stand for the commit. Default: main. */
  readonly refs?: readonly string[]
  /** Only this token may read it. */
  readonly token?: string
  /** As `token`, and everybody may see that it is there. */
  readonly isGated?: boolean
}

interface Entry {
  readonly path: string
  readonly bytes: Uint8Array
  readonly oid: string
  readonly lfsOid: string | undefined
}

interface Commit {
  readonly repo: string
  readonly options: FakeRepo
  readonly entries: readonly Entry[]
}

/** Entries on one page of the list of files: few, so that there are several. */
const PAGE_SIZE = 3

/**
 * What the Hugging Face Hub answers to whoever downloads: revisions, lists of files, and files, the large ones (safetensors, GGUF)
 * by a redirect to another host. Errors have the Hub's statuses and headers.
 */
export class FakeHub implements AsyncDisposable {
  /** `METHOD path`, as they came. */
  readonly requests: string[] = []
  /** Where large files are. */
  readonly cdn: FaultyFileServer
  readonly endpoint: string
  readonly #server: Server
  readonly #commits: Commit[] = []
  /** Statuses that the next requests for anything get instead of an answer. */
  readonly failures: number[] = []

  private constructor (server: Server, port: number, cdn: FaultyFileServer) {
    this.#server = server
    this.cdn = cdn
    this.endpoint = `http://127.0.0.1:${port}`
    server.on('request', (request, response) => { this.#answer(request, response) })
  }

  static async start (): Promise<FakeHub> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    return new FakeHub(server, typeof address === 'object' && address !== null ? address.port : 0, await FaultyFileServer.start())
  }

  /** Adds a commit; its refs no longer stand for an earlier one. */
  put (repo: string, options: FakeRepo): void {
    const entries = Object.entries(options.files).map(([path, content]): Entry => {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      const isLarge = /\.(safetensors|gguf|bin)$/.test(path)
      const lfsOid = isLarge ? sha256(bytes) : undefined
      if (lfsOid !== undefined) this.cdn.put(`/${lfsOid}`, bytes)
      return { path, bytes, oid: gitSha1(bytes), lfsOid }
    })
    this.#commits.unshift({ repo, options, entries })
  }

  /** Orders faults for a large file. */
  fail (bytes: Uint8Array, ...faults: readonly Fault[]): void {
    this.cdn.fail(`/${sha256(bytes)}`, ...faults)
  }

  /** The variables that make a client ask here, and keep what it gets in `home`. */
  env (home: string): Record<string, string> {
    return { HF_ENDPOINT: this.endpoint, HF_HOME: home }
  }

  /** Everything goes away, as without a network. */
  async stop (): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await Promise.all([once(this.#server, 'close'), this.cdn[Symbol.asyncDispose]()])
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    if (this.#server.listening) await this.stop()
  }

  #answer (request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', this.endpoint)
    this.requests.push(`${request.method} ${url.pathname}`)
    const failure = this.failures.shift()
    if (failure !== undefined) {
      refuse(response, failure)
      return
    }
    const path = decodeURIComponent(url.pathname)
    const [, repo, kind, rest = ''] = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/(.+)$/.exec(path) ?? /^\/([^/]+\/[^/]+)\/(resolve)\/(.+)$/.exec(path) ?? []
    const token = request.headers.authorization?.replace(/^Bearer /, '')
    const commits = this.#commits.filter(commit => commit.repo === repo)
    const [newest] = commits
    if (newest === undefined || (newest.options.token !== undefined && newest.options.isGated !== true && newest.options.token !== token)) {
      // Who sends no token is not told which of the two it is.
      if (token === undefined) refuse(response, 401, { 'x-error-message': 'Invalid username or password.' })
      else refuse(response, 404, { 'x-error-code': 'RepoNotFound', 'x-error-message': 'Repository not found' })
      return
    }
    const [revision = '', filePath = ''] = kind === 'resolve' ? [rest.slice(0, rest.indexOf('/')), rest.slice(rest.indexOf('/') + 1)] : [rest]
    const commit = commits.find(({ options: { commit, refs = ['main'] } }) => commit === revision || refs.includes(revision))
    if (commit === undefined) {
      refuse(response, 404, { 'x-error-code': 'RevisionNotFound', 'x-error-message': `Invalid rev id: ${revision}` })
      return
    }
    if (kind === 'revision') sendJson(response, { _id: '0123456789abcdef01234567', id: repo, sha: commit.options.commit, private: false, gated: false, downloads: 0, likes: 0, lastModified: '2026-01-01T00:00:00.000Z' })
    else if (kind === 'tree') this.#tree(commit, url, response)
    else this.#resolve(commit, filePath, token, response)
  }

  #tree ({ entries }: Commit, url: URL, response: ServerResponse): void {
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const next = new URL(url)
    next.searchParams.set('cursor', String(from + PAGE_SIZE))
    const folders = [...new Set(entries.flatMap(({ path }) => path.includes('/') ? [path.slice(0, path.indexOf('/'))] : []))]
    const all = [
      ...folders.map(path => ({ type: 'directory', oid: gitSha1(new TextEncoder().encode(path)), size: 0, path })),
      ...entries.map(({ path, bytes, oid, lfsOid }) => ({
        type: 'file', oid, size: bytes.length, path, ...(lfsOid !== undefined && { lfs: { oid: lfsOid, size: bytes.length, pointerSize: 134 } })
      }))
    ]
    sendJson(response, all.slice(from, from + PAGE_SIZE), from + PAGE_SIZE < all.length ? { link: `<${next.href}>; rel="next"` } : {})
  }

  #resolve ({ options, entries }: Commit, path: string, token: string | undefined, response: ServerResponse): void {
    const entry = entries.find(entry => entry.path === path)
    const headers = { 'x-repo-commit': options.commit }
    if (options.isGated === true && options.token !== token) {
      refuse(response, token === undefined ? 401 : 403, { 'x-error-code': 'GatedRepo', 'x-error-message': 'Access to the model is restricted.' })
    } else if (entry === undefined) {
      refuse(response, 404, { ...headers, 'x-error-code': 'EntryNotFound', 'x-error-message': 'Entry not found' })
    } else if (entry.lfsOid !== undefined) {
      response.writeHead(302, { ...headers, 'x-linked-etag': `"${entry.lfsOid}"`, 'x-linked-size': entry.bytes.length, location: `${this.cdn.origin}/${entry.lfsOid}?signature=secret` }).end()
    } else {
      response.writeHead(200, { ...headers, etag: `"${entry.oid}"`, 'content-length': entry.bytes.length }).end(entry.bytes)
    }
  }
}

export function sha256 (bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** What git calls this content. */
export function gitSha1 (bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
}

function refuse (response: ServerResponse, status: number, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'text/plain', ...headers }).end(headers['x-error-message'] ?? 'failed')
}

function sendJson (response: ServerResponse, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}
