import { z } from 'zod'
import type { BatchProblem } from './batch-object.ts'
import { inputLines } from './input-lines.ts'
import type { LinePlace } from './input-lines.ts'

export interface InputLimits {
  readonly maxLines: number
  readonly maxLineBytes: number
}

/** One request of an input file, found to be one. */
export interface BatchLine extends LinePlace {
  readonly customId: string
}

export interface CheckedInput {
  /** Empty when there are problems. */
  readonly lines: readonly BatchLine[]
  /** Of the first line that names one. */
  readonly model: string | undefined
  readonly problems: readonly BatchProblem[]
}

/** More of them help nobody. */
const MOST_PROBLEMS = 100

const lineSchema = z.object({
  custom_id: z.string().min(1).max(512),
  method: z.literal('POST'),
  url: z.string(),
  body: z.looseObject({ model: z.string().optional(), stream: z.boolean().nullish() })
})

/** What a line of an input file asks for. */
export type RequestLine = z.infer<typeof lineSchema>

/** @throws ZodError, SyntaxError */
export function parseLine (text: string): RequestLine {
  return lineSchema.parse(JSON.parse(text))
}

/**
 * Reads a whole input file, a line at a time: each must be a request to `endpoint` under an id of its own. What is in a request's
 * body beside model and stream is for the endpoint to judge, when its turn comes.
 * @throws the signal's reason, what reading throws (rejects)
 */
export async function checkInput (path: string, endpoint: string, { maxLines, maxLineBytes }: InputLimits, signal?: AbortSignal): Promise<CheckedInput> {
  const lines: BatchLine[] = []
  const ids = new Set<string>()
  const problems: BatchProblem[] = []
  let model: string | undefined
  for await (const { text, number, offset, length } of inputLines(path, maxLineBytes)) {
    signal?.throwIfAborted()
    if (problems.length === MOST_PROBLEMS) break
    const refuse = (code: string, message: string, param: string | null = null): void => { problems.push({ code, line: number, message, param }) }
    if (text === undefined) {
      refuse('line_too_long', `This line has ${length} bytes; the most is ${maxLineBytes}.`)
      continue
    }
    const request = read(text, refuse)
    if (request === undefined) continue
    const { custom_id: customId, url, body } = request
    if (url !== endpoint) refuse('invalid_url', `The url of this request, ${JSON.stringify(url.slice(0, 128))}, is not the batch's endpoint, ${endpoint}.`, 'url')
    else if (ids.has(customId)) refuse('duplicate_custom_id', `The custom_id ${JSON.stringify(customId)} is that of another line too.`, 'custom_id')
    else if (body.stream === true) refuse('invalid_value', 'A request of a batch cannot be streamed.', 'body.stream')
    else if (model !== undefined && body.model !== undefined && body.model !== model) {
      refuse('mismatched_model', `This request is for the model ${JSON.stringify(body.model)}, others are for ${JSON.stringify(model)}; a batch has one.`, 'body.model')
    } else if (ids.size === maxLines) {
      refuse('too_many_lines', `A batch has ${maxLines} requests at most.`)
      break
    }
    model ??= body.model
    ids.add(customId)
    lines.push({ number, offset, length, customId })
  }
  if (lines.length === 0 && problems.length === 0) problems.push({ code: 'empty_file', line: null, message: 'The input file has no requests.', param: 'input_file_id' })
  return { lines: problems.length === 0 ? lines : [], model, problems }
}

/** The endpoint that the first request of a file names; undefined where there is none to read. */
export async function endpointOf (path: string, maxLineBytes: number): Promise<string | undefined> {
  const lines = inputLines(path, maxLineBytes)
  const first = await lines.next()
  await lines.return(undefined)
  return first.done === true || first.value.text === undefined ? undefined : read(first.value.text, () => {})?.url
}

function read (text: string, refuse: (code: string, message: string, param?: string | null) => void): RequestLine | undefined {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    refuse('invalid_json_line', 'This line is not JSON.')
    return undefined
  }
  const parsed = lineSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const param = issue === undefined || issue.path.length === 0 ? null : issue.path.join('.')
  const isMissing = issue?.code === 'invalid_type' && issue.message.endsWith('received undefined')
  if (isMissing) refuse('missing_required_parameter', `Missing required parameter: '${param ?? ''}'.`, param)
  else if (param === 'method') refuse('invalid_method', 'The method of a request is POST.', param)
  else refuse('invalid_value', `Invalid value${param === null ? '' : ` for '${param}'`}: ${issue?.message ?? 'not a request'}.`, param)
  return undefined
}
