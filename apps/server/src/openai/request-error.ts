import type { z } from 'zod'
import { ApiError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'

type Issue = z.core.$ZodIssue
type Path = readonly PropertyKey[]

/** The first thing wrong with a request, in the words and with the `param` path that OpenAI uses: `messages[0].content`. */
export function toRequestError (error: z.ZodError): ApiError {
  const issue = error.issues[0]
  return issue === undefined ? new ApiError('invalid_value', 'The request is invalid.') : fromIssue(deepest(issue, []))
}

/** `code` and `param` for a rule of our own inside a schema: pass as `params` of a custom issue. */
export interface CustomIssueParams { readonly code: ErrorCode }

/**
 * A union reports every branch. The caller meant the one that got furthest into the value, and of those that stopped at the
 * same place, one that had the right type.
 */
function deepest (issue: Issue, prefix: Path): Issue {
  const path = [...prefix, ...issue.path]
  if (issue.code !== 'invalid_union') return { ...issue, path }
  const candidates = issue.errors.flatMap(branch => branch[0] === undefined ? [] : [deepest(branch[0], path)])
  return candidates.reduce<Issue>((best, next) => progress(next) > progress(best) ? next : best, { ...issue, path })
}

const progress = ({ path, code }: Issue): number => 2 * path.length + (code === 'invalid_type' || code === 'invalid_union' ? 0 : 1)

function fromIssue (issue: Issue): ApiError {
  const param = formatPath(issue.path)
  switch (issue.code) {
    case 'unrecognized_keys': {
      const name = formatPath([...issue.path, ...issue.keys.slice(0, 1)])
      return new ApiError('unknown_parameter', `Unknown parameter: '${name}'.`, { param: name })
    }
    case 'invalid_type':
      if (issue.message.endsWith('received undefined')) {
        return new ApiError('missing_required_parameter', `Missing required parameter: '${param}'.`, { param })
      }
      return new ApiError('invalid_type', `Invalid type for '${param}': ${lowerFirst(issue.message.replace(/^Invalid input: /, ''))}.`, { param })
    case 'invalid_union':
      return new ApiError('invalid_type', `Invalid type for '${param}'.`, { param })
    case 'custom':
      return new ApiError(customCode(issue.params), `Invalid value for '${param}': ${lowerFirst(issue.message)}.`, { param })
    default:
      return new ApiError('invalid_value', `Invalid value for '${param}': ${lowerFirst(issue.message)}.`, { param })
  }
}

function customCode (params: Record<string, unknown> | undefined): ErrorCode {
  return params?.['code'] === 'unsupported_parameter' ? 'unsupported_parameter' : 'invalid_value'
}

function lowerFirst (text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1)
}

export function formatPath (path: Path): string {
  return path.reduce<string>((text, key) =>
    typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`, '').slice(0, 256)
}
