import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import OpenAI from 'openai'
import type { Test } from 'tap'
import { buildApp } from '../../apps/server/src/app.ts'
import type { AppStorage } from '../../apps/server/src/app.ts'
import { BatchStore } from '../../apps/server/src/batches/index.ts'
import { FileStore } from '../../apps/server/src/files/index.ts'
import { httpConfigSchema } from '../../apps/server/src/http-config.ts'
import type { HttpConfig } from '../../apps/server/src/http-config.ts'
import { createLogger } from '../../apps/server/src/cli/logger.ts'
import { BatchQueue, parseQueueUrl } from '../../apps/server/src/queue/index.ts'
import { Telemetry } from '../../apps/server/src/telemetry/telemetry.ts'
import { FakeGenerationService } from '../fakes/fake-generation-service.ts'
import type { FakeScript } from '../fakes/fake-generation-service.ts'
import { fakeTextService } from '../fakes/fake-text-service.ts'
import type { FakeTextOptions } from '../fakes/fake-text-service.ts'

export interface ServerUnderTestOptions {
  readonly script?: FakeScript
  readonly config?: Partial<HttpConfig>
  readonly text?: FakeTextOptions
  /** Default: no files and no batches. */
  readonly dataFolder?: string
  /** A Redis, and how long a silent server keeps what it has of its queue. Default: none. */
  readonly queue?: { readonly url: string, readonly leaseMs: number }
  readonly modelId?: string
}

/** A real server on a loopback port over fakes, closed when the test ends; with the official client pointed at it. */
export async function aServer (t: Test, options: ServerUnderTestOptions = {}) {
  const generation = new FakeGenerationService(options.script)
  const text = fakeTextService(options.text)
  const config = httpConfigSchema.parse({ metricsCacheSeconds: 0, ...options.config })
  const logLines: string[] = []
  const logger = createLogger('info', 'json', { write: line => { logLines.push(line) } })
  const queue = options.queue === undefined ? undefined : await openQueue(options.queue, logger)
  const telemetry = new Telemetry({ generation, modelName: 'fake', cacheSeconds: config.metricsCacheSeconds, queue })
  const storage = options.dataFolder === undefined ? undefined : await openStorage(options.dataFolder)
  const app = buildApp({ config, generation, text, telemetry, logger, storage, queue, model: { id: options.modelId ?? 'fake', created: 1700000000, ownedBy: 'tests', aliases: ['org/fake'] } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  t.teardown(async () => {
    await app.close()
    telemetry.close()
    await queue?.[Symbol.asyncDispose]()
  })
  const url = `http://127.0.0.1:${port}`
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
  const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(url + path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) })
  return { app, client, generation, telemetry, text, url, port, logLines, post }
}

async function openStorage (folder: string): Promise<AppStorage> {
  const now = (): number => Math.floor(Date.now() / 1000)
  return { files: await FileStore.open(join(folder, 'files'), now), batches: await BatchStore.open(join(folder, 'batches')) }
}

async function openQueue ({ url: text, leaseMs }: { readonly url: string, readonly leaseMs: number }, logger: ReturnType<typeof createLogger>): Promise<BatchQueue> {
  const url = parseQueueUrl(text)
  if (url === undefined) throw new Error(`no address of a queue: ${text}`)
  return await BatchQueue.open({ url, leaseMs, logger })
}

export type ServerUnderTest = Awaited<ReturnType<typeof aServer>>

/** The `data:` payloads of a whole SSE body. */
export function dataOf (sse: string): string[] {
  return sse.split('\n\n').filter(event => event.startsWith('data: ')).map(event => event.slice('data: '.length))
}

export const userSays = (content: string) => [{ role: 'user' as const, content }]

/** What a call was refused with; undefined when it was not. */
export async function refusalOf (call: Promise<unknown>): Promise<unknown> {
  return await call.then(() => undefined, (error: unknown) => error)
}
