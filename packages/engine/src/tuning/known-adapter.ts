/** What was measured on one kind of adapter, in the repository. */
export interface KnownAdapter {
  /** As the adapter calls itself. */
  readonly adapter: string
  /** What it was measured with; another driver takes the table, too. */
  readonly driver: string
  /** `kernelsFingerprint` of what was measured. */
  readonly kernels: string
  /** A ProductTable of some day: read with `parseProductTable`, so that no change of kernels has to wait for whoever owns the card. */
  readonly products: Readonly<Record<string, ReadonlyArray<{ readonly upTo: number, readonly kernel: ReadonlyArray<string | number | undefined> }>>>
}

/** An adapter's name as the name of a file. */
export function adapterFileName (adapter: string): string {
  return adapter.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
}

/** Where the repository keeps an adapter's table. */
export function knownAdapterPath (adapter: string): string {
  return `packages/engine/src/tuning/known/${adapterFileName(adapter)}.ts`
}
