import { Writable } from 'node:stream'
import { Presets, SingleBar } from 'cli-progress'
import type { LoadProgress } from '@daybreak/engine'
import type { Logger } from 'pino'
import { formatByteSize } from './byte-size.ts'
import type { OutputStream } from './command-context.ts'

/** Shows how far loading is. */
export interface ProgressDisplay {
  update (progress: LoadProgress): void
  /** Loading has ended, well or not. */
  stop (): void
}

const stages: Readonly<Record<LoadProgress['stage'], string>> = {
  adapter: 'opening the adapter',
  weights: 'loading weights',
  kernels: 'compiling kernels',
  'kv-cache': 'allocating the KV cache'
}

/** A bar on a terminal; elsewhere one log line for every quarter of a stage. */
export function createProgressDisplay (stream: OutputStream, logger: Logger): ProgressDisplay {
  return stream.isTTY === true && stream instanceof Writable ? new ProgressBar(stream) : new ProgressLines(logger)
}

class ProgressBar implements ProgressDisplay {
  readonly #stream: Writable
  #bar: SingleBar | undefined
  #stage: LoadProgress['stage'] | undefined

  constructor (stream: Writable) {
    this.#stream = stream
  }

  update (progress: LoadProgress): void {
    const { stage, done, total } = progress
    if (stage !== this.#stage) {
      this.stop()
      this.#stage = stage
      this.#bar = new SingleBar({
        stream: this.#stream,
        hideCursor: true,
        clearOnComplete: true,
        format: `${stages[stage].padEnd(24)} {bar} {percentage}% {amount}`
      }, Presets.shades_classic)
      this.#bar.start(Math.max(1, total), done, { amount: amountOf(progress) })
    }
    this.#bar?.setTotal(Math.max(1, total))
    this.#bar?.update(done, { amount: amountOf(progress) })
  }

  stop (): void {
    this.#bar?.stop()
    this.#bar = undefined
    this.#stage = undefined
  }
}

class ProgressLines implements ProgressDisplay {
  readonly #logger: Logger
  #last = ''

  constructor (logger: Logger) {
    this.#logger = logger
  }

  update (progress: LoadProgress): void {
    const { stage, done, total, detail } = progress
    const quarter = total === 0 ? 0 : Math.floor(4 * done / total)
    const line = `${stage} ${quarter}`
    if (line === this.#last) return
    this.#last = line
    this.#logger.info({ event: 'loading', stage, percent: quarter * 25, detail })
  }

  stop (): void {}
}

function amountOf ({ stage, done, total, detail }: LoadProgress): string {
  if (total === 0) return detail
  return stage === 'kernels' ? `${done}/${total}` : `${formatByteSize(done)}/${formatByteSize(total)}`
}
