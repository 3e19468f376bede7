import parsePrometheus from 'parse-prometheus-text-format'
import { z } from 'zod'

const Sample = z.object({ value: z.coerce.number(), labels: z.record(z.string(), z.string()).default({}) })
const Histogram = z.object({ buckets: z.object({ '+Inf': z.coerce.number() }) })

/** One scrape of `/metrics`, read by an independent parser. */
export class MetricsSnapshot {
  readonly #text: string
  readonly #families: ReadonlyMap<string, readonly unknown[]>

  constructor (text: string) {
    this.#text = text
    this.#families = new Map(parsePrometheus(text).map(({ name, metrics }) => [name, metrics]))
  }

  /** A counter's or gauge's value, summed over the samples that have these labels. */
  value (name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.#samples(name)
      .map(sample => Sample.parse(sample))
      .filter(sample => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
      .reduce((sum, { value }) => sum + value, 0)
  }

  /** Of a histogram with one child. The parser drops count and sum of histograms that have labels: the last bucket and the text have them. */
  histogram (name: string): { readonly count: number, readonly sum: number } {
    const { buckets } = Histogram.parse(this.#samples(name)[0])
    const sum = new RegExp(`^${name}_sum(?:\\{.*\\})? (\\S+)$`, 'm').exec(this.#text)?.[1]
    return { count: buckets['+Inf'], sum: Number(sum) }
  }

  #samples (name: string): readonly unknown[] {
    const samples = this.#families.get(name)
    if (samples === undefined) throw new Error(`no metric is called ${name}`)
    return samples
  }
}
