/**
 * Runs in a worker thread: renders the model's chat template. The template came with somebody's download, so it gets a clock, a limit
 * on the size of all that it makes, and (from the pool) a heap of its own. V8's watchdog stops a template that does not end; the clock
 * starts with the rendering, so that waiting for a free worker never counts against a request. The limit on sizes keeps every single
 * allocation small enough for a full heap to end this thread only, and not its process.
 */
import { createContext, Script } from 'node:vm'
import { workerData } from 'node:worker_threads'
import { z } from 'zod'
import { parseJson, valueOf } from './jinja/json.ts'
import { ChatTemplate } from './jinja/template.ts'
import { isDict, isList, type Value } from './jinja/values.ts'

export interface RenderTask {
  readonly template: string
  /** JSON values by name. */
  readonly variables: Readonly<Record<string, unknown>>
  /** Whether the template gets the arguments of tool calls as what their JSON says, or as its text. */
  readonly parseArguments: boolean
  /** What `strftime_now` sees: milliseconds since 1970. */
  readonly now: number
}

export type RenderResult =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'unreadable'; readonly message: string }
  | { readonly type: 'timeout' }

const { timeoutMs, maxCharacters, templates } = z.object({ timeoutMs: z.number(), maxCharacters: z.number(), templates: z.record(z.string(), z.string()) }).parse(workerData)
const compiled = new Map<string, ChatTemplate | string>()
const call = new Script('render()')
// One context for all renderings (making one takes a millisecond); `render` is set for each, and only read by `call`.
const context: { render: () => RenderResult } = { render: () => ({ type: 'failed', message: '' }) }
createContext(context)

export default function renderTemplate (task: RenderTask): RenderResult {
  let result: RenderResult | undefined
  context.render = () => (result = render(task))
  try {
    call.runInContext(context, { timeout: timeoutMs })
    return result ?? { type: 'failed', message: 'there is no rendering' }
  } catch (error) {
    return isTimeout(error) ? { type: 'timeout' } : { type: 'failed', message: reasonOf(error) }
  }
}

function render (task: RenderTask): RenderResult {
  const template = compiledTemplate(task.template)
  if (typeof template === 'string') return { type: 'unreadable', message: template }
  const variables = Object.entries(task.variables).map(([name, json]) => {
    const value = valueOf(json)
    return [name, name === 'messages' && task.parseArguments ? withParsedArguments(value) : value] as const
  })
  return { type: 'text', text: template.render(variables, { now: new Date(task.now), maxCharacters }) }
}

/** A template that cannot be read fails each request that needs it, with the reason. */
function compiledTemplate (name: string): ChatTemplate | string {
  const known = compiled.get(name)
  if (known !== undefined) return known
  const made = compile(templates[name] ?? '')
  compiled.set(name, made)
  return made
}

function compile (source: string): ChatTemplate | string {
  try {
    return new ChatTemplate(source)
  } catch (error) {
    return reasonOf(error)
  }
}

/** In OpenAI's API `messages[].tool_calls[].function.arguments` is JSON text. */
function withParsedArguments (messages: Value): Value {
  return mapItems(messages, message => mapMember(message, 'tool_calls', calls =>
    mapItems(calls, toolCall => mapMember(toolCall, 'function', called =>
      mapMember(called, 'arguments', json => typeof json === 'string' ? parseJson(json) : json)))))
}

function mapItems (value: Value, change: (item: Value) => Value): Value {
  return isList(value) ? value.map(change) : value
}

function mapMember (value: Value, name: string, change: (member: Value) => Value): Value {
  const member = isDict(value) ? value.get(name) : undefined
  return isDict(value) && member !== undefined ? new Map([...value, [name, change(member)]]) : value
}

/** The watchdog's error is made in the context it stopped, so `instanceof Error` does not know it. */
function isTimeout (error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
}

function reasonOf (error: unknown): string {
  if (error instanceof RangeError && /call stack/.test(error.message)) return 'it nests or recurses too deeply'
  return error instanceof Error ? error.message : String(error)
}
