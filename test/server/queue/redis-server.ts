import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import tap from 'tap'
import type { Test } from 'tap'
import { redisProgram } from './redis-package.ts'
import type { MissingRedis, RedisProgram } from './redis-package.ts'

const POLL_MS = 20

/** A real Redis on a loopback port, with an append-only file in a folder: what it is started on again goes on. */
export class RedisServer {
  readonly port: number
  readonly #program: RedisProgram
  readonly #args: readonly string[]
  #process: ChildProcess | undefined

  private constructor (program: RedisProgram, port: number, args: readonly string[]) {
    this.#program = program
    this.port = port
    this.#args = args
  }

  /** Ready, until the test ends and everything that was started after it has ended. @param args more of redis-server's own, the last of a kind counts */
  static async start (t: Test, folder: string, args: readonly string[] = []): Promise<RedisServer | MissingRedis> {
    const program = await redisProgram()
    if ('missing' in program) return program
    const port = await freePort()
    const server = new RedisServer(program, port, ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction', '--loglevel', 'warning', '--daemonize', 'no', ...args])
    t.teardown(async () => { await server.kill() })
    process.on('exit', () => server.#process?.kill('SIGKILL'))
    await server.restart()
    return server
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  async kill (): Promise<void> {
    const running = this.#process
    this.#process = undefined
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    running.kill('SIGKILL')
    await once(running, 'exit')
  }

  /** On the same port and folder. Resolves when it answers. */
  async restart (): Promise<void> {
    await this.kill()
    // argv[0] says which of its programs the one binary is.
    const child = spawn(this.#program.command, this.#args, { argv0: 'redis-server', env: { ...process.env, ...this.#program.env }, stdio: ['ignore', 'ignore', 'inherit'] })
    this.#process = child
    const failed = new Promise<never>((_resolve, reject) => {
      child.once('error', reject)
      child.once('exit', code => { if (this.#process === child) reject(new Error(`redis-server exited with ${code}`)) })
    })
    failed.catch(() => {})
    await Promise.race([failed, this.#answers()])
  }

  /** One command in Redis's own words, and the beginning of its reply. */
  async ask (command: string): Promise<string> {
    const socket = createConnection(this.port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      socket.write(`${command}\r\n`)
      const [reply] = await once(socket, 'data') as [Buffer]
      return reply.toString()
    } finally {
      socket.destroy()
    }
  }

  async #answers (): Promise<void> {
    while (!/^(\+PONG|-NOAUTH)/.test(await this.ask('PING').catch(() => ''))) await delay(POLL_MS)
  }
}

/** A test that needs a Redis; skipped with the reason where there is none. */
export function redisTest (name: string, body: (t: Test, redis: RedisServer) => Promise<void>, args: readonly string[] = []): void {
  tap.setTimeout(300_000)
  tap.test(name, async t => {
    t.setTimeout(120_000)
    const redis = await RedisServer.start(t, t.testdir({}), args)
    if ('missing' in redis) t.pass(name, { skip: redis.missing })
    else await body(t, redis)
  })
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
