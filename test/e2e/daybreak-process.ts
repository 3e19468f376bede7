import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import { MetricsSnapshot } from './metrics-snapshot.ts'
import { sourceFlags } from '../fakes/source-flags.ts'

const main = fileURLToPath(new URL('../../apps/server/src/main.ts', import.meta.url))
/** Time between two looks at something that only `/metrics` tells. */
const POLL_MS = 25

const logEntry = z.looseObject({ event: z.string().optional(), msg: z.string().optional(), code: z.string().optional(), enginePid: z.number().optional() })
export type LogEntry = z.infer<typeof logEntry>

/** Why there is no server: no adapter on this machine. */
export interface MissingAdapter { readonly missing: string }

/** `daybreak serve` as a user starts it, on a free port: the embedded model in an engine process of its own. */
export class DaybreakProcess {
  readonly #process: ChildProcessByStdio<null, Readable, Readable>
  readonly #log: LogEntry[] = []
  #stdout = ''
  #wake: () => void = () => {}
  #changed: Promise<void> = Promise.resolve()
  #url = ''
  #exitCode: number | null | undefined

  private constructor (args: readonly string[], program: string) {
    // The environment is inherited: it says where the adapter is.
    this.#process = spawn(process.execPath,
      [...sourceFlags, program, 'serve', '--port', '0', '--log-format', 'json', '--metrics-cache-seconds', '0', ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#expectChange()
    this.#process.stdout.on('data', (data: Buffer) => {
      this.#stdout += data.toString()
      this.#expectChange()
    })
    createInterface({ input: this.#process.stderr }).on('line', line => {
      const entry = parseLogEntry(line)
      this.#log.push(entry)
      this.#expectChange()
    })
    this.#process.on('exit', code => {
      this.#exitCode = code
      this.#expectChange()
    })
  }

  /**
   * Ready to answer, until the test file ends. Without an adapter CI fails, and elsewhere the answer says why tests are skipped.
   * @param program the module to run in place of the program's own
   */
  static async start (args: readonly string[] = [], program: string = main): Promise<DaybreakProcess | MissingAdapter> {
    // Loading takes seconds, and minutes where a software adapter compiles its shaders for the first time.
    t.setTimeout(900_000)
    const server = new DaybreakProcess(args, program)
    t.teardown(() => server.#end())
    process.on('exit', () => server.#process.kill('SIGKILL'))
    await server.until(() => server.#exitCode !== undefined || server.#stdout.includes('curl '))
    if (server.#exitCode === undefined) {
      server.#url = /address +(http:\S+)/.exec(server.#stdout)?.[1] ?? ''
      return server
    }
    const failure = server.#log.find(({ event }) => event === 'engine-failed')
    const { CI } = process.env
    if (CI === 'true' || failure?.code !== 'ENGINE_NO_ADAPTER') throw new Error(`the server exited with ${server.#exitCode}: ${JSON.stringify(server.#log.slice(-5))}`)
    return { missing: 'no GPU adapter, and no software one' }
  }

  get url (): string { return this.#url }

  /** The official client; it does not retry, so that every answer is the first one. */
  get client (): OpenAI {
    return new OpenAI({ baseURL: `${this.#url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 600_000 })
  }

  /** The engine process that runs now, or the last one that did. */
  get enginePid (): number {
    const pid = this.#log.findLast(({ event }) => event === 'engine-ready')?.enginePid
    if (pid === undefined) throw new Error('no engine process has been ready')
    return pid
  }

  signal (name: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void {
    this.#process.kill(name)
  }

  /** Resolves with the `count`th log entry of this event. @throws Error (rejects) when the process ends without it */
  async logged (event: string, count = 1): Promise<LogEntry> {
    const entries = (): LogEntry[] => this.#log.filter(entry => entry.event === event)
    await this.until(() => entries().length >= count || this.#exitCode !== undefined)
    const entry = entries()[count - 1]
    if (entry === undefined) throw new Error(`the server exited with ${this.#exitCode} before ${event}`)
    return entry
  }

  async exited (): Promise<number | null> {
    await this.until(() => this.#exitCode !== undefined)
    return this.#exitCode ?? null
  }

  /** Looks again whenever the process writes or ends. */
  async until (condition: () => boolean): Promise<void> {
    while (!condition()) await this.#changed
  }

  async metrics (): Promise<MetricsSnapshot> {
    return new MetricsSnapshot(await (await fetch(`${this.#url}/metrics`)).text())
  }

  /** The first scrape of which `condition` holds; the test's own time limit ends a wait in vain. */
  async metricsOnce (condition: (metrics: MetricsSnapshot) => boolean): Promise<MetricsSnapshot> {
    for (;;) {
      const metrics = await this.metrics()
      if (condition(metrics)) return metrics
      await delay(POLL_MS)
    }
  }

  /** Nothing runs, nothing waits, no block is held. */
  async idle (): Promise<MetricsSnapshot> {
    return await this.metricsOnce(metrics => metrics.value('vllm:num_requests_running') === 0 &&
      metrics.value('vllm:num_requests_waiting') === 0 && metrics.value('vllm:kv_cache_usage_perc') === 0)
  }

  async post (path: string, body: object, signal?: AbortSignal): Promise<Response> {
    return await fetch(this.#url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...(signal && { signal })
    })
  }

  /** `/health` or `/ready`: the status code and the word. */
  async probe (path: '/health' | '/ready'): Promise<string> {
    const response = await fetch(this.#url + path)
    const { status } = z.object({ status: z.string() }).parse(await response.json())
    return `${response.status} ${status}`
  }

  async #end (): Promise<void> {
    if (this.#exitCode !== undefined) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }

  #expectChange (): void {
    this.#wake()
    this.#changed = new Promise(resolve => { this.#wake = resolve })
  }
}

/** A test that needs the server; skipped with the reason where there is no adapter. */
export function serverTest (name: string, server: DaybreakProcess | MissingAdapter, body: (t: Test, server: DaybreakProcess) => Promise<void>): void {
  if ('missing' in server) t.test(name, { skip: server.missing }, async () => {})
  else t.test(name, t => body(t, server))
}

function parseLogEntry (line: string): LogEntry {
  try {
    return logEntry.parse(JSON.parse(line))
  } catch {
    return { msg: line }
  }
}
