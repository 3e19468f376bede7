import { Writable } from 'node:stream'
import { Presets, SingleBar } from 'cli-progress'
import type { Logger } from 'pino'
import type { DownloadProgress } from '../models/index.ts'
import { formatByteSize } from './byte-size.ts'
import type { OutputStream } from './command-context.ts'

/** Speed is a mean over about this long: steady enough to read, quick enough to tell a stall. */
const SPEED_WINDOW_MS = 5_000

/**
 * One bar for all files of a download on a terminal, with speed and time left; elsewhere a line for every ten percent: the logger's
 * where there is one, else plain text.
 * @param now monotonic, in milliseconds
 */
export function createDownloadDisplay (stream: OutputStream, logger?: Logger, now: () => number = () => performance.now()): DownloadProgress {
  return stream.isTTY === true && stream instanceof Writable ? new DownloadBar(stream, now) : new DownloadLines(stream, logger)
}

class DownloadBar implements DownloadProgress {
  readonly #stream: Writable
  readonly #now: () => number
  #bar: SingleBar | undefined
  #total: number | undefined
  #samples: Array<{ readonly at: number, readonly bytes: number }> = []

  constructor (stream: Writable, now: () => number) {
    this.#stream = stream
    this.#now = now
  }

  begin (name: string, totalBytes: number | undefined): void {
    this.end()
    this.#total = totalBytes
    this.#stream.write(`downloading ${name}${totalBytes === undefined ? '' : `, ${formatByteSize(totalBytes)}`}\n`)
    // The cursor stays: nothing would bring it back for somebody who stops the program here.
    this.#bar = new SingleBar({ stream: this.#stream, clearOnComplete: true, format: '{bar} {percentage}% {amount}' }, Presets.shades_classic)
    this.#bar.start(Math.max(1, totalBytes ?? 1), 0, { amount: '' })
  }

  update (doneBytes: number): void {
    const speed = this.#speed(doneBytes)
    const left = this.#total === undefined || speed === undefined ? undefined : (this.#total - doneBytes) / speed
    const amount = [formatByteSize(doneBytes), ...(speed === undefined ? [] : [`${formatByteSize(Math.round(speed))}/s`]), ...(left === undefined ? [] : [`${formatDuration(left)} left`])]
    this.#bar?.update(this.#total === undefined ? 0 : doneBytes, { amount: amount.join(', ') })
  }

  note (message: string): void {
    // Below the bar's line, which is drawn anew.
    this.#stream.write(`${this.#bar === undefined ? '' : '\r\u001b[2K'}${message}\n`)
  }

  end (): void {
    this.#bar?.stop()
    this.#bar = undefined
    this.#samples = []
  }

  /** Bytes per second, once two samples are far enough apart. What an earlier try left is no speed: it is in the first sample. */
  #speed (bytes: number): number | undefined {
    const at = this.#now()
    this.#samples.push({ at, bytes })
    while (this.#samples.length > 2 && (this.#samples[1]?.at ?? at) < at - SPEED_WINDOW_MS) this.#samples.shift()
    const first = this.#samples[0]
    if (first === undefined || at - first.at < 500 || bytes <= first.bytes) return undefined
    return (bytes - first.bytes) / (at - first.at) * 1000
  }
}

class DownloadLines implements DownloadProgress {
  readonly #stream: OutputStream
  readonly #logger: Logger | undefined
  #name = ''
  #total: number | undefined
  #lastTenth = 0

  constructor (stream: OutputStream, logger: Logger | undefined) {
    this.#stream = stream
    this.#logger = logger
  }

  begin (name: string, totalBytes: number | undefined): void {
    this.#name = name
    this.#total = totalBytes
    this.#lastTenth = -1
    if (totalBytes === undefined) this.#say(0, 0)
  }

  update (doneBytes: number): void {
    if (this.#total === undefined) return
    const tenth = this.#total === 0 ? 10 : Math.floor(10 * doneBytes / this.#total)
    if (tenth <= this.#lastTenth) return
    this.#lastTenth = tenth
    this.#say(tenth * 10, doneBytes)
  }

  note (message: string): void {
    if (this.#logger === undefined) this.#stream.write(`daybreak: ${message}\n`)
    else this.#logger.warn({ event: 'downloading', model: this.#name }, message)
  }

  end (): void {}

  #say (percent: number, doneBytes: number): void {
    if (this.#logger !== undefined) {
      this.#logger.info({ event: 'downloading', model: this.#name, percent, doneBytes, totalBytes: this.#total ?? null })
      return
    }
    const amount = this.#total === undefined ? '' : `: ${percent} % of ${formatByteSize(this.#total)}`
    this.#stream.write(`downloading ${this.#name}${amount}\n`)
  }
}

/** `42 s`, `3:07`, `1:02:03`. */
function formatDuration (seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, String(whole % 60).padStart(2, '0')]
  return hours === 0 ? `${minutes}:${rest}` : `${hours}:${String(minutes).padStart(2, '0')}:${rest}`
}
