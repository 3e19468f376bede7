import { Piscina } from 'piscina'
import type { RenderResult, RenderTask } from './chat-template-worker.ts'
import { ChatTemplateError, TextBusyError } from './errors.ts'
import { cutAfterFinalMessage, markFinalMessage } from './final-message.ts'
import type { TextModelFiles } from './model-files.ts'
import type { ChatMessage, ChatTemplateOptions } from './text-service.ts'

export interface ChatTemplateRunnerOptions {
  readonly worker: URL
  /** Longest a rendering may take, from its own start. */
  readonly timeoutMs: number
  readonly maxThreads: number
  /** Chats that may wait for a thread. */
  readonly maxWaiting: number
  /** Heap of one worker; a template that needs more costs its own request only. */
  readonly maxHeapMiB: number
  /** UTF-16 units of the longest text that a template may make, of a whole prompt too. */
  readonly maxCharacters: number
  /** What `strftime_now` sees, in local time. */
  readonly now: () => Date
}

/** The model's templates by name; one unnamed template is `default`. Empty when the model has none. */
export function chatTemplatesOf (files: TextModelFiles): Readonly<Record<string, string>> {
  if (files.chatTemplateFile !== undefined) return { default: files.chatTemplateFile }
  const configured = files.config.chat_template ?? []
  if (typeof configured === 'string') return { default: configured }
  return Object.fromEntries(configured.map(({ name, template }) => [name, template]))
}

/** Renders chat templates in worker threads, never on the event loop: measured at well under a millisecond a round trip. */
export class ChatTemplateRunner {
  readonly #pool: Piscina<RenderTask, RenderResult>
  readonly #templates: Readonly<Record<string, string>>
  readonly #globals: Readonly<Record<string, unknown>>
  readonly #timeoutMs: number
  readonly #maxWaiting: number
  readonly #now: () => Date

  constructor (files: TextModelFiles, options: ChatTemplateRunnerOptions) {
    this.#templates = chatTemplatesOf(files)
    this.#globals = tokenVariables(files.config)
    this.#timeoutMs = options.timeoutMs
    this.#maxWaiting = options.maxWaiting
    this.#now = options.now
    this.#pool = new Piscina({
      filename: options.worker.href,
      minThreads: 1,
      maxThreads: options.maxThreads,
      resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMiB },
      workerData: { timeoutMs: options.timeoutMs, maxCharacters: options.maxCharacters, templates: this.#templates }
    })
  }

  /** @throws ChatTemplateError (rejects) when there is no prompt to be had from the template; TextBusyError when too many wait. */
  async render (messages: readonly ChatMessage[], options: ChatTemplateOptions): Promise<string> {
    const continued = options.continueFinalMessage === true ? messages.at(-1)?.content ?? '' : undefined
    if (continued !== undefined && options.addGenerationPrompt) throw this.#error('failed', 'a prompt cannot both continue the final message and open another one')
    const name = options.tools !== undefined && Object.hasOwn(this.#templates, 'tool_use') ? 'tool_use' : 'default'
    if (!Object.hasOwn(this.#templates, name)) throw this.#error('failed', `the model has no chat template that is called default, only ${Object.keys(this.#templates).join(', ')}`)
    const rendered = await this.#render(name, {
      ...options.variables,
      ...this.#globals,
      messages: continued === undefined ? messages : markFinalMessage(messages),
      tools: options.tools ?? null,
      documents: options.documents ?? null,
      add_generation_prompt: options.addGenerationPrompt
    })
    const text = continued === undefined ? rendered : cutAfterFinalMessage(rendered, continued)
    if (text === undefined) throw this.#error('failed', 'the final message cannot be continued: the chat template does not show its text as it is')
    return text
  }

  async close (): Promise<void> {
    await this.#pool.destroy()
  }

  async #render (template: string, variables: RenderTask['variables']): Promise<string> {
    // Most templates want a call's arguments as an object (they apply `tojson`); those that ask `is string` get the API's own string.
    const parseArguments = !/arguments\s+is\s+string/.test(this.#templates[template] ?? '')
    const result = await this.#run({ template, variables, parseArguments, now: this.#now().getTime() })
    switch (result.type) {
      case 'text': return result.text
      case 'failed': throw this.#error('failed', `the chat template refused these messages: ${result.message}`)
      case 'unreadable': throw this.#error('failed', `the model's chat template cannot be read: ${result.message}`)
      case 'timeout': throw this.#error('timeout', `the chat template took longer than ${this.#timeoutMs} ms`)
      default: return result satisfies never
    }
  }

  async #run (task: RenderTask): Promise<RenderResult> {
    const { queueSize } = this.#pool
    if (queueSize >= this.#maxWaiting) throw new TextBusyError({ numWaiting: queueSize, limit: this.#maxWaiting })
    try {
      return await this.#pool.run(task)
    } catch (cause) {
      const outOfMemory = cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY'
      if (outOfMemory) throw this.#error('memory', 'the chat template used too much memory', cause)
      throw this.#error('failed', 'the chat template\'s worker ended', cause)
    }
  }

  #error (reason: ChatTemplateError['details']['reason'], message: string, cause?: unknown): ChatTemplateError {
    return new ChatTemplateError(message, { reason, timeoutMs: this.#timeoutMs }, cause === undefined ? undefined : { cause })
  }
}

/** `bos_token` and its kin as templates know them: as text. */
function tokenVariables (config: TextModelFiles['config']): Record<string, unknown> {
  const variables: Record<string, unknown> = { bos_token: '', eos_token: '' }
  for (const [key, value] of Object.entries(config)) {
    if (!key.endsWith('_token')) continue
    if (typeof value === 'string') variables[key] = value
    else if (typeof value === 'object' && value !== null && 'content' in value) variables[key] = value.content
  }
  return variables
}
