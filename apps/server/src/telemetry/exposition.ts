import type { Registry } from 'prom-client'

/**
 * Prometheus text with histogram bounds printed as Python's client prints them (`le="1.0"`, prom-client: `le="1"`).
 * Prometheus before 3 compares bounds as text, so a pool of vLLM and this server would otherwise have broken quantiles.
 */
export function pythonBounds (text: string): string {
  return text.replaceAll(/\ble="(\d+)"/g, (_, digits: string) => `le="${pythonFloat(digits)}"`)
}

/** An integer as Python's `floatToGoString` writes it: `1.0`, and `1e+06` from seven digits on. */
function pythonFloat (digits: string): string {
  if (digits.length <= 6) return `${digits}.0`
  const mantissa = `${digits.slice(0, 1)}.${digits.slice(1)}`.replace(/\.?0*$/, '')
  return `${mantissa}e+${String(digits.length - 1).padStart(2, '0')}`
}

/** Renders registries into one text, at most once per `cacheSeconds`: gateways scrape every replica many times a second. */
export class Exposition {
  readonly contentType = 'text/plain; version=0.0.4; charset=utf-8'
  readonly #registries: ReadonlyArray<Pick<Registry, 'metrics'>>
  readonly #cacheSeconds: number
  readonly #now: () => number
  #text: Promise<string> | undefined
  #renderedAt = -Infinity

  /** @param now monotonic seconds. */
  constructor (registries: ReadonlyArray<Pick<Registry, 'metrics'>>, cacheSeconds: number, now: () => number) {
    this.#registries = registries
    this.#cacheSeconds = cacheSeconds
    this.#now = now
  }

  render (): Promise<string> {
    const now = this.#now()
    if (this.#text === undefined || now - this.#renderedAt >= this.#cacheSeconds) {
      this.#renderedAt = now
      this.#text = Promise.all(this.#registries.map(registry => registry.metrics())).then(texts => pythonBounds(texts.join('')))
    }
    return this.#text
  }
}
