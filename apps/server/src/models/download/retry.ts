import { HostUnreachableError, HttpStatusError, IncompleteDownloadError } from './errors.ts'

const FIRST_DELAY_MS = 1_000
/** Longer than this nobody is kept waiting without being told. */
const LONGEST_DELAY_MS = 60_000

/** Tries that may fail in a row; any progress starts the count again. */
const MAX_RETRIES = 4

/**
 * How long to wait before the next try: 1, 2, 4, 8 seconds, or what the server asks for. Undefined: trying again is no use.
 * @param numFailed failures in a row, this one included
 */
export function retryDelayMs (error: unknown, numFailed: number): number | undefined {
  if (numFailed > MAX_RETRIES || !isTransient(error)) return undefined
  const wished = error instanceof HttpStatusError ? error.details.retryAfterMs : undefined
  const delay = Math.max(wished ?? 0, FIRST_DELAY_MS * 2 ** (numFailed - 1))
  return delay > LONGEST_DELAY_MS ? undefined : delay
}

function isTransient (error: unknown): boolean {
  if (error instanceof HttpStatusError) return [408, 425, 429].includes(error.details.status) || error.details.status >= 500
  return error instanceof HostUnreachableError || error instanceof IncompleteDownloadError
}

/** A failed `fetch` hides its reason in its cause, or its cause's. */
export function unreachable (url: string, cause: unknown): HostUnreachableError {
  let problem = 'no answer'
  for (let at: unknown = cause, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    if (at.message !== '') problem = at.message
    else if ('code' in at && typeof at.code === 'string') problem = at.code
  }
  return new HostUnreachableError({ url, problem }, { cause })
}
