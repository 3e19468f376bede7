/** Why a model of the Hugging Face Hub cannot be had. Every message says what to do about it. */
import { DownloadMismatchError, HostUnreachableError, HttpStatusError } from '../download/index.ts'

export type HubErrorCode =
  | 'HUB_GATED' | 'HUB_REPO_NOT_FOUND' | 'HUB_REVISION_NOT_FOUND' | 'HUB_TOKEN_REFUSED' | 'HUB_FORBIDDEN' | 'HUB_UNREACHABLE' | 'HUB_FAILED'
  | 'HUB_NOT_IN_CACHE' | 'HUB_UNUSABLE_MODEL' | 'HUB_GGUF_CHOICE' | 'HUB_ANSWER_MALFORMED'

export class HubError extends Error {
  override readonly name = 'HubError'
  readonly code: HubErrorCode
  readonly details: { readonly repo: string, readonly [name: string]: unknown }

  constructor (code: HubErrorCode, message: string, details: HubError['details'], options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** Whom a question to the Hub was about, for the words of its failure. */
export interface HubQuestion {
  readonly endpoint: string
  readonly repo: string
  readonly revision: string
  readonly hasToken: boolean
}

/**
 * A failed request in words a user can act on; an error of another kind, such as a full disk, stays what it is. The Hub answers 401
 * without a code for a repository that does not exist as for a private one, to whoever sends no token.
 */
export function explainFailure (error: unknown, { endpoint, repo, revision, hasToken }: HubQuestion): unknown {
  if (error instanceof HostUnreachableError) {
    return new HubError('HUB_UNREACHABLE', `${repo}: ${error.message}. Check the network and HF_ENDPOINT (now ${endpoint}); a model that is in the cache needs no network`,
      { repo, endpoint }, { cause: error })
  }
  if (error instanceof DownloadMismatchError) {
    return new HubError('HUB_FAILED', `${repo}: ${error.message}. Try again; if it happens again, something between here and ${endpoint} changes files`, { repo, endpoint }, { cause: error })
  }
  if (!(error instanceof HttpStatusError)) return error
  const { status, serverCode, serverMessage, retryAfterMs } = error.details
  if (serverCode === 'GatedRepo') {
    return new HubError('HUB_GATED', `${repo} is gated: accept its licence at ${endpoint}/${repo}, then ` +
      (hasToken ? 'use a token of that account (HF_TOKEN) that may read gated repositories' : 'set HF_TOKEN to a token of that account'), { repo, status }, { cause: error })
  }
  if (serverCode === 'RevisionNotFound') {
    return new HubError('HUB_REVISION_NOT_FOUND', `${repo} has no revision ${JSON.stringify(revision)}: ${endpoint}/${repo}/tree/main lists branches and tags`, { repo, revision }, { cause: error })
  }
  if (status === 401 && hasToken && serverCode === undefined) {
    return new HubError('HUB_TOKEN_REFUSED', `${repo}: ${endpoint} refuses the token. Set HF_TOKEN to a valid one, or unset it and remove the stored one for a public model`, { repo, status }, { cause: error })
  }
  if (serverCode === 'RepoNotFound' || status === 401 || (status === 404 && serverCode === undefined)) {
    return new HubError('HUB_REPO_NOT_FOUND', `${repo}: there is no such model at ${endpoint}, or it is private. Check the name` +
      (hasToken ? ', and that the token may read it' : '; for a private model set HF_TOKEN') + `. There is no path ${repo} here either`, { repo, status }, { cause: error })
  }
  const answer = `${repo}: ${endpoint} answered with HTTP status ${status}${serverMessage === undefined ? '' : ` (${serverMessage})`}`
  if (status === 403) {
    const advice = hasToken ? 'The token may not read this model: use another (HF_TOKEN), or give this one the permission' : 'If the model is private, set HF_TOKEN; else ask whoever runs the Hub or the proxy before it'
    return new HubError('HUB_FORBIDDEN', `${answer}. ${advice}`, { repo, status }, { cause: error })
  }
  return new HubError('HUB_FAILED', `${answer}. Try again ${retryAfterMs === undefined ? 'later' : `in ${Math.ceil(retryAfterMs / 1000)} seconds`}`, { repo, status }, { cause: error })
}
