import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { engineNodeFlags } from '../engine-process/node-flags.ts'
import { parseChildMessage } from '../engine-process/protocol.ts'
import type { ChildMessage, ParentMessage } from '../engine-process/protocol.ts'

export interface EngineChildOptions {
  /** The module the process runs. */
  readonly entry: URL
  /** Node's own flags: how this process finds its source is how the child does. */
  readonly execArgv: readonly string[]
  onMessage (message: ChildMessage): void
  /** One line the process wrote to stdout or stderr. */
  onLine (line: string): void
  /** Once, when the process is gone and everything it sent has been delivered. */
  onDeath (death: EngineDeath): void
}

export interface EngineDeath {
  readonly exitCode: number | null
  readonly signal: string | null
  /** Its last lines, for the log. */
  readonly lastLines: readonly string[]
}

const LAST_LINES = 20

/** One engine process from fork to death. The environment is inherited: a software adapter is found through it. */
export class EngineChild {
  readonly #process: ChildProcess
  readonly #lastLines: string[] = []
  readonly #onDeath: (death: EngineDeath) => void
  #exit: { readonly code: number | null, readonly signal: string | null } | undefined
  #dead = false

  constructor (options: EngineChildOptions) {
    this.#onDeath = options.onDeath
    this.#process = fork(fileURLToPath(options.entry), [], {
      // Later flags win, so the user's own do. A debugger listens on a port of its own, which two processes cannot have.
      execArgv: [...engineNodeFlags, ...options.execArgv.filter(flag => !flag.startsWith('--inspect'))],
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc']
    })
    this.#process.on('message', value => {
      const message = parseChildMessage(value)
      if (message !== undefined) options.onMessage(message)
      else {
        options.onLine('the engine process sent a message that is not of its protocol')
        this.kill()
      }
    })
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (stream !== null) this.#readLines(stream, options.onLine)
    }
    // 'exit' may come before the last messages have been read; the channel's end comes after them.
    this.#process.on('exit', (code, signal) => {
      this.#exit = { code, signal }
      if (!this.#process.connected) this.#died()
    })
    this.#process.on('disconnect', () => {
      if (this.#exit !== undefined) this.#died()
    })
    this.#process.on('error', error => {
      options.onLine(`engine process: ${error.message}`)
      // A process that never started has no exit.
      if (this.#process.pid === undefined) this.#died()
    })
  }

  get pid (): number | undefined { return this.#process.pid }

  /** Messages to a process that is going away are lost; its death says so soon enough. */
  send (message: ParentMessage): void {
    if (this.#process.connected) this.#process.send(message, () => {})
  }

  /** SIGKILL: also ends a process that is stopped, or stuck in a driver. */
  kill (): void {
    this.#process.kill('SIGKILL')
  }

  #died (): void {
    if (this.#dead) return
    this.#dead = true
    this.#onDeath({ exitCode: this.#exit?.code ?? null, signal: this.#exit?.signal ?? null, lastLines: this.#lastLines })
  }

  #readLines (stream: Readable, onLine: (line: string) => void): void {
    createInterface({ input: stream }).on('line', line => {
      this.#lastLines.push(line)
      if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift()
      onLine(line)
    })
  }
}
