declare module 'parse-prometheus-text-format' {
  /** One metric family of Prometheus text, values as the text had them. */
  export interface MetricFamily {
    readonly name: string
    readonly help: string
    readonly type: string
    readonly metrics: ReadonlyArray<Readonly<Record<string, unknown>>>
  }
  export default function parsePrometheusTextFormat (text: string): MetricFamily[]
}
