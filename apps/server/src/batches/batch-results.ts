import type { Usage } from '../openai/usage.ts'
import type { Batch } from './batch-object.ts'
import type { BatchLine } from './check-input.ts'
import type { LineAnswer } from './line-runner.ts'
import { ResultLog } from './result-log.ts'

/** A line of an output or error file, as OpenAI's are. */
interface ResultLine {
  readonly id: string
  readonly custom_id: string
  readonly response: { readonly status_code: number, readonly request_id: string, readonly body: unknown } | null
  readonly error: { readonly code: string, readonly message: string } | null
}

/** How far a batch is, and what it took. */
export type BatchTally = Pick<Batch, 'request_counts' | 'usage'>

/** Answers of a running batch: each line is answered once, however often its process ends in between. */
export class BatchResults implements AsyncDisposable {
  readonly #output: ResultLog<ResultLine>
  readonly #errors: ResultLog<ResultLine>
  readonly #answered: Set<string>
  readonly #numLines: number
  #numCompleted = 0
  #numFailed = 0
  #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 }

  private constructor (output: ResultLog<ResultLine>, errors: ResultLog<ResultLine>, answered: Set<string>, numLines: number) {
    this.#output = output
    this.#errors = errors
    this.#answered = answered
    this.#numLines = numLines
  }

  /** Opens a batch's logs, with what earlier processes have answered. */
  static async open (paths: { readonly output: string, readonly errors: string }, numLines: number): Promise<BatchResults> {
    const answered = new Set<string>()
    const completed: Usage[] = []
    let numFailed = 0
    const output = await ResultLog.open<ResultLine>(paths.output, line => {
      answered.add(line.custom_id)
      completed.push(usageOf(line.response?.body))
    })
    const errors = await ResultLog.open<ResultLine>(paths.errors, line => {
      answered.add(line.custom_id)
      numFailed++
    })
    const results = new BatchResults(output, errors, answered, numLines)
    results.#numFailed = numFailed
    for (const usage of completed) results.#count(usage)
    return results
  }

  isAnswered ({ customId }: BatchLine): boolean {
    return this.#answered.has(customId)
  }

  get tally (): BatchTally {
    const { promptTokens, cachedTokens, completionTokens } = this.#usage
    return {
      request_counts: { total: this.#numLines, completed: this.#numCompleted, failed: this.#numFailed },
      usage: {
        input_tokens: promptTokens,
        input_tokens_details: { cached_tokens: cachedTokens },
        output_tokens: completionTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: promptTokens + completionTokens
      }
    }
  }

  get hasOutput (): boolean { return this.#numCompleted > 0 }
  get hasErrors (): boolean { return this.#numFailed > 0 }

  /** Rejects when it cannot be written, and then has not counted it. */
  async add ({ customId }: BatchLine, { requestId, status, body, usage }: LineAnswer): Promise<void> {
    const line = { id: resultId(requestId), custom_id: customId, response: { status_code: status, request_id: requestId, body }, error: null }
    await (status === 200 ? this.#output : this.#errors).append(line)
    this.#answered.add(customId)
    if (status === 200) this.#count(usage ?? usageOf(body))
    else this.#numFailed++
  }

  /** Writes that a line will not be answered. */
  async addUnanswered ({ customId }: BatchLine, error: NonNullable<ResultLine['error']>): Promise<void> {
    await this.#errors.append({ id: resultId(crypto.randomUUID().replaceAll('-', '')), custom_id: customId, response: null, error })
    this.#answered.add(customId)
    this.#numFailed++
  }

  async sync (): Promise<void> {
    await Promise.all([this.#output.sync(), this.#errors.sync()])
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await Promise.all([this.#output[Symbol.asyncDispose](), this.#errors[Symbol.asyncDispose]()])
  }

  #count ({ promptTokens, cachedTokens, completionTokens }: Usage): void {
    this.#numCompleted++
    this.#usage = {
      promptTokens: this.#usage.promptTokens + promptTokens,
      cachedTokens: this.#usage.cachedTokens + cachedTokens,
      completionTokens: this.#usage.completionTokens + completionTokens
    }
  }
}

function resultId (requestId: string): string {
  return `batch_req_${requestId.replace(/^req_/, '')}`
}

/** What a response that was logged says of itself. */
function usageOf (body: unknown): Usage {
  const usage = typeof body === 'object' && body !== null && 'usage' in body ? body.usage : undefined
  const count = (key: string, of: unknown = usage): number => {
    const value = typeof of === 'object' && of !== null ? (of as Record<string, unknown>)[key] : undefined
    return typeof value === 'number' ? value : 0
  }
  const details = typeof usage === 'object' && usage !== null && 'prompt_tokens_details' in usage ? usage.prompt_tokens_details : undefined
  return { promptTokens: count('prompt_tokens'), completionTokens: count('completion_tokens'), cachedTokens: count('cached_tokens', details) }
}
