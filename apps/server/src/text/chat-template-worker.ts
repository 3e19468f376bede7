/**
 * Runs in a worker thread: renders the model's chat template. The template came with somebody's download, so it gets a clock and
 * (from the pool) a heap of its own. V8's watchdog stops a template that does not end; the clock starts with the rendering, so that
 * waiting for a free worker never counts against a request. A heap that grows over its limit ends this thread only; what a thread
 * cannot survive, and its process neither, is one single allocation larger than all that is left.
 */
import { createContext, Script } from 'node:vm'
import { workerData } from 'node:worker_threads'
import { Template } from '@huggingface/jinja'
import { z } from 'zod'

export interface RenderTask {
  readonly template: string
  readonly variables: Readonly<Record<string, unknown>>
}

export type RenderResult =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'timeout' }

const { timeoutMs, templates } = z.object({ timeoutMs: z.number(), templates: z.record(z.string(), z.string()) }).parse(workerData)
const compiled = new Map(Object.entries(templates).map(([name, source]) => [name, compile(source)]))
const call = new Script('render()')
// One context for all renderings (making one takes a millisecond); `render` is set for each, and only read by `call`.
const context: { render: () => string } = { render: () => '' }
createContext(context)

export default function renderTemplate (task: RenderTask): RenderResult {
  try {
    const template = compiled.get(task.template)
    if (!(template instanceof Template)) return { type: 'failed', message: template ?? `there is no template ${task.template}` }
    context.render = () => template.render({ ...task.variables })
    const text: unknown = call.runInContext(context, { timeout: timeoutMs })
    return { type: 'text', text: String(text) }
  } catch (error) {
    return isTimeout(error) ? { type: 'timeout' } : { type: 'failed', message: reasonOf(error) }
  }
}

/** A template that cannot be read fails each request that needs it, with the reason. */
function compile (source: string): Template | string {
  try {
    return new Template(source)
  } catch (error) {
    return reasonOf(error)
  }
}

/** The watchdog's error is made in the context it stopped, so `instanceof Error` does not know it. */
function isTimeout (error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
}

function reasonOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
