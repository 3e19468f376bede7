import { setTimeout as sleep } from 'node:timers/promises'
import type { TokenId } from '@daybreak/kvcache'
import { z } from 'zod'
import type { Answer, Answering } from './answering.ts'
import { EvalRequestError } from './errors.ts'

const completion = z.looseObject({ choices: z.array(z.looseObject({ text: z.string(), finish_reason: z.string().nullable() })).min(1) })
const modelList = z.looseObject({ data: z.array(z.looseObject({ id: z.string(), max_model_len: z.int().optional() })) })
const failure = z.looseObject({ error: z.looseObject({ message: z.string() }) })

const MAX_TRIES = 6
const MAX_WAIT_SECONDS = 30

/** Asks a running server through `/v1/completions`, prompts as token ids. A busy server (429, 503) is asked again when it says so. */
export class ServerAnswering implements Answering {
  readonly description: string
  readonly maxModelLen: number | undefined
  readonly model: string
  readonly #completions: URL

  private constructor (api: URL, model: string, maxModelLen: number | undefined) {
    this.#completions = new URL('completions', api)
    this.model = model
    this.maxModelLen = maxModelLen
    this.description = `${model} at ${api.origin}`
  }

  /**
   * `baseUrl` with or without `/v1`; `model` undefined takes the first one the server names.
   * @throws EvalRequestError (rejects) when there is no such server or model
   */
  static async connect (baseUrl: string, model: string | undefined): Promise<ServerAnswering> {
    const api = new URL(`${baseUrl.replace(/\/+$/, '').replace(/\/v1$/, '')}/v1/`)
    const { data } = await read(await request(new URL('models', api), {}, 0), modelList, 0)
    const found = model === undefined ? data[0] : data.find(entry => entry.id === model)
    if (found === undefined) {
      throw new EvalRequestError({ reason: `the server has ${data.map(entry => entry.id).join(', ') || 'no model'}, not ${model ?? 'any'}`, promptTokens: 0 })
    }
    return new ServerAnswering(api, found.id, found.max_model_len)
  }

  async answer (prompt: readonly TokenId[], maxTokens: number): Promise<Answer> {
    const body = JSON.stringify({ model: this.model, prompt, max_tokens: maxTokens, temperature: 0 })
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
    const { choices: [choice] } = await read(await request(this.#completions, init, prompt.length), completion, prompt.length)
    return { text: choice?.text ?? '', ended: choice?.finish_reason === 'stop' }
  }
}

async function request (url: URL, init: RequestInit, promptTokens: number): Promise<Response> {
  for (let tries = 1; ; tries++) {
    let response: Response
    try {
      response = await fetch(url, init)
    } catch (cause) {
      throw new EvalRequestError({ reason: `no answer from ${url.origin}`, promptTokens }, { cause })
    }
    const busy = response.status === 429 || response.status === 503
    if (!busy || tries === MAX_TRIES) return response
    await response.body?.cancel()
    const seconds = Number(response.headers.get('retry-after') ?? 1)
    await sleep(1000 * Math.min(MAX_WAIT_SECONDS, Number.isFinite(seconds) ? seconds : 1))
  }
}

async function read<Schema extends z.ZodType> (response: Response, schema: Schema, promptTokens: number): Promise<z.infer<Schema>> {
  const { status } = response
  const value: unknown = await response.json().catch(() => undefined)
  if (!response.ok) {
    const said = failure.safeParse(value)
    throw new EvalRequestError({ reason: said.success ? said.data.error.message : `status ${status}`, promptTokens, status })
  }
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new EvalRequestError({ reason: `not the expected reply: ${z.prettifyError(parsed.error)}`, promptTokens, status })
  return parsed.data
}
