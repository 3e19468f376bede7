import type { CommandContext } from '../../cli/command-context.ts'
import { ProgressLine } from '../progress-line.ts'
import { RandomStream } from '../random-stream.ts'
import { arrivalSchedule } from './arrival-schedule.ts'
import { defaultEndpoint, requestBody } from './backend.ts'
import { parseObjectives } from './goodput.ts'
import { keyValue } from '../flag-values.ts'
import type { RequestOutcome } from './request-outcome.ts'
import { runLoad, systemClock } from './run-load.ts'
import type { LoadRun } from './run-load.ts'
import type { SampleRequest } from './sample-request.ts'
import type { ServeFlags } from './serve-flags.ts'
import { ServerClient } from './server-client.ts'
import { ServerText } from './server-text.ts'
import { measureStreamed } from './streamed-request.ts'
import { detailedReport, servingReport } from './serving-report.ts'
import { reportTable } from './report-table.ts'
import { saveResult } from './save-result.ts'
import { makeWorkload } from './workload.ts'

/** The server under test gave no usable answer. */
export class ServerNotReadyError extends Error {
  override readonly name = 'ServerNotReadyError'
  readonly code = 'BENCH_SERVER_NOT_READY'
  readonly details: { readonly url: string, readonly reason: string }
  constructor (details: ServerNotReadyError['details']) {
    super(`${details.url} does not answer: ${details.reason}`)
    this.details = details
  }
}

// A client that leaves this much later than planned measures itself as well as the server.
const MAX_CLIENT_LAG = 0.05
const READY_CHECK_INTERVAL_MS = 1000

type Send = (sample: SampleRequest, queueSeconds: number) => Promise<RequestOutcome>

/**
 * Measures a running server under the load the flags describe; prints and saves the result.
 * @throws ServerNotReadyError, DatasetError, VocabSizeUnknownError, RangeError for a malformed objective
 */
export async function benchServe (flags: ServeFlags, context: CommandContext): Promise<void> {
  const objectives = parseObjectives(flags.goodput)
  const metadata = flags.metadata.reduce<Readonly<Record<string, string>>>((all, text) => keyValue(text, all), {})
  const host = flags.host.includes(':') ? `[${flags.host}]` : flags.host
  const client = new ServerClient(new URL(flags.baseUrl ?? `http://${host}:${flags.port}`), headersOf(flags, context))
  const note = (text: string): void => { context.stderr.write(`${text}\n`) }
  try {
    const model = flags.servedModelName ?? flags.model ?? await firstModel(client)
    const text = new ServerText(client, model)
    const random = new RandomStream(flags.seed)
    const samples = await makeWorkload(flags, text, random)
    if (!text.isExact) note('the server has no /tokenize: prompt lengths are estimated until its usage tells them')

    const endpoint = flags.endpoint ?? defaultEndpoint(flags.backend)
    const send: Send = (sample, queueSeconds) =>
      measureStreamed(client, endpoint, requestBody(flags.backend, sample, { ...flags, model }), sample, queueSeconds, systemClock.now)
    await awaitReady(samples, send, flags.readyCheckTimeoutSec, client.baseUrl)
    await Promise.all(samples.slice(0, flags.numWarmups).map(sample => send(sample, 0)))

    const run = await measured(flags, samples, arrivalSchedule(samples.length, flags, random), send, context)
    const report = servingReport(run, {
      ...flags,
      model,
      label: flags.label,
      maxConcurrency: flags.maxConcurrency,
      metadata,
      objectives,
      metrics: flags.percentileMetrics,
      percentiles: flags.metricPercentiles
    }, new Date())
    warn(run, note)
    context.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : reportTable(report, flags.percentileMetrics, flags.metricPercentiles))
    if (flags.saveResult || flags.appendResult || flags.saveDetailed) {
      const file = { directory: flags.resultDir, name: flags.resultFilename, append: flags.appendResult }
      note(`result written to ${await saveResult(flags.saveDetailed ? { ...report, ...detailedReport(run) } : report, file)}`)
    }
  } finally {
    client.close()
  }
}

function headersOf (flags: ServeFlags, context: CommandContext): Readonly<Record<string, string>> {
  const key = context.env['OPENAI_API_KEY']
  return { ...(key === undefined || key === '' ? {} : { authorization: `Bearer ${key}` }), ...flags.header }
}

async function firstModel (client: ServerClient): Promise<string> {
  const url = new URL('/v1/models', client.baseUrl).href
  const models = await client.json('/v1/models').catch((cause: unknown) => {
    throw new ServerNotReadyError({ url, reason: cause instanceof Error ? cause.message || cause.name : String(cause) })
  })
  const [model]: unknown[] = typeof models === 'object' && models !== null && 'data' in models && Array.isArray(models.data) ? models.data : []
  if (typeof model === 'object' && model !== null && 'id' in model && typeof model.id === 'string') return model.id
  throw new ServerNotReadyError({ url, reason: 'it lists no model' })
}

/** Repeats the first request until it succeeds. */
async function awaitReady (samples: readonly SampleRequest[], send: Send, timeoutSeconds: number, url: URL): Promise<void> {
  const [first] = samples
  if (timeoutSeconds === 0 || first === undefined) return
  const deadline = systemClock.now() + timeoutSeconds
  for (;;) {
    const { error } = await send(first, 0)
    if (error === undefined) return
    // Asking again does not cure a request that the server understands and refuses.
    const isRefused = /^HTTP 4(?!08|09|25|29)/.test(error)
    if (isRefused || systemClock.now() + READY_CHECK_INTERVAL_MS / 1000 > deadline) throw new ServerNotReadyError({ url: url.href, reason: error })
    await new Promise(resolve => setTimeout(resolve, READY_CHECK_INTERVAL_MS))
  }
}

async function measured (flags: ServeFlags, samples: readonly SampleRequest[], arrivals: Float64Array, send: Send, context: CommandContext): Promise<LoadRun> {
  const progress = new ProgressLine(flags.disableTqdm ? { write: () => undefined } : context.stderr)
  let done = 0
  let failed = 0
  progress.update(0, samples.length, 'requests')
  const run = await runLoad({ samples, arrivals, maxConcurrency: flags.maxConcurrency }, send, systemClock, ({ error }) => {
    if (error !== undefined) failed++
    progress.update(++done, samples.length, `requests${failed > 0 ? `, ${failed} failed` : ''}`)
  })
  progress.clear()
  return run
}

function warn (run: LoadRun, note: (text: string) => void): void {
  if (run.clientLag > MAX_CLIENT_LAG) {
    note(`the client fell ${(run.clientLag * 100).toFixed(1)} % behind its schedule: it was too slow for this load, and the latencies include its own`)
  }
  const withoutUsage = run.outcomes.filter(({ error, hasUsage }) => error === undefined && !hasUsage).length
  if (withoutUsage > 0) note(`${withoutUsage} answers had no usage: their output tokens are counted as chunks with text`)
  const failures = run.outcomes.flatMap(({ error }) => error ?? [])
  if (failures.length > 0) note(`${failures.length} requests failed; the first: ${failures[0]}`)
}
