import { Writable } from 'node:stream'
import { Presets, SingleBar } from 'cli-progress'
import type { OutputStream } from '../cli/command-context.ts'
import type { BatchTally } from './batch-results.ts'

/** Shows how far a batch is. */
export interface BatchProgress {
  /** Requests are being answered from now on. */
  start (): void
  update (tally: BatchTally): void
  /** The batch has ended, well or not. */
  end (tally: BatchTally): void
}

/** Between two lines where there is no terminal, in answered requests. */
const LINES = 10

/**
 * A bar on a terminal, elsewhere a line for every tenth of the requests; at the end a summary on both.
 * @param before what earlier runs have answered: no part of this one's speed
 * @param now monotonic, in milliseconds
 */
export function batchProgress (stream: OutputStream, before: BatchTally, now: () => number): BatchProgress {
  let startedAt = now()
  const { total } = before.request_counts
  const bar = stream.isTTY === true && stream instanceof Writable
    ? new SingleBar({ stream, clearOnComplete: true, format: '{bar} {value}/{total} {details}' }, Presets.shades_classic)
    : undefined
  let shown = Math.floor(LINES * doneOf(before) / total)
  const details = (tally: BatchTally): string => {
    const seconds = (now() - startedAt) / 1000
    const numDone = doneOf(tally) - doneOf(before)
    const left = numDone === 0 ? undefined : (total - doneOf(tally)) * seconds / numDone
    return [speedOf(before, tally, seconds), savedOf(tally), ...left === undefined || left === 0 ? [] : [`${duration(left)} left`]].join(', ')
  }
  return {
    start () {
      startedAt = now()
      bar?.start(total, doneOf(before), { details: '' })
    },
    update (tally) {
      bar?.update(doneOf(tally), { details: details(tally) })
      const tenth = Math.floor(LINES * doneOf(tally) / total)
      if (bar === undefined && tenth > shown) stream.write(`${doneOf(tally)}/${total} ${details(tally)}\n`)
      shown = tenth
    },
    end (tally) {
      bar?.stop()
      const { completed, failed } = tally.request_counts
      const seconds = (now() - startedAt) / 1000
      const open = total - completed - failed
      stream.write(`${completed} of ${total} requests answered${failed === 0 ? '' : `, ${failed} failed`}${open === 0 ? '' : `, ${open} left`} in ${duration(seconds)}: ${speedOf(before, tally, seconds)}, ${savedOf(tally)}\n`)
    }
  }
}

function doneOf ({ request_counts: { completed, failed } }: BatchTally): number {
  return completed + failed
}

function speedOf (before: BatchTally, tally: BatchTally, seconds: number): string {
  const perSecond = (tally.usage.output_tokens - before.usage.output_tokens) / Math.max(seconds, 0.001)
  return `${perSecond >= 10 ? Math.round(perSecond).toLocaleString('en') : perSecond.toFixed(1)} tok/s`
}

function savedOf ({ usage: { input_tokens: input, input_tokens_details: { cached_tokens: cached } } }: BatchTally): string {
  return `${input === 0 ? 0 : Math.round(100 * cached / input)} % of prompt tokens shared`
}

function duration (seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`
}
