/** A model on the Hub as the user writes it: `owner/name`, `owner/name@revision`, `owner/name:FILE_OR_QUANT`, or both. */
export interface HubReference {
  /** `owner/name`. */
  readonly repo: string
  /** Branch, tag, `refs/pr/N` or commit. */
  readonly revision: string
  /** Of a GGUF repository: a file's name, or a quantisation such as `Q4_K_M`. */
  readonly file: string | undefined
}

const DEFAULT_REVISION = 'main'

const OWNER_AND_NAME = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9_][\w.-]{0,95})((?:[@:][^@:]+){0,2})$/
const REVISION = /^\w[\w.+-]*(?:\/\w[\w.+-]*)*$/

/** Undefined when it is no such name. Anything that begins with `.`, `/` or a drive letter is a path and none of these. */
export function parseHubReference (text: string): HubReference | undefined {
  const match = OWNER_AND_NAME.exec(text)
  const [, repo, suffixes = ''] = match ?? []
  // The Hub allows neither; the cache's folder names would be ambiguous.
  if (repo === undefined || /--|\.\.|\.git$/.test(repo)) return undefined
  const revisions = [...suffixes.matchAll(/@([^@:]+)/g)].map(([, text]) => text)
  const files = [...suffixes.matchAll(/:([^@:]+)/g)].map(([, text]) => text)
  if (revisions.length > 1 || files.length > 1) return undefined
  const [revision = DEFAULT_REVISION] = revisions
  return REVISION.test(revision) && !revision.includes('..') ? { repo, revision, file: files[0] } : undefined
}

/** As `parseHubReference` reads it, without the default revision. */
export function formatHubReference ({ repo, revision, file }: HubReference): string {
  return `${repo}${file === undefined ? '' : `:${file}`}${revision === DEFAULT_REVISION ? '' : `@${revision}`}`
}

/** Whether a revision names one commit for ever. */
export function isCommit (revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}
