/** Asking the npm client where a package lies gave no answer. */
export class PackageLookupError extends Error {
  override readonly name = 'PackageLookupError'
  readonly code = 'PACKAGE_LOOKUP_FAILED'
  readonly details: {
    /** Name and version. */
    readonly package: string
    /** There is no npm client; it reached no registry; the registry has no such package; it failed otherwise or said nothing usable. */
    readonly reason: 'npm-missing' | 'unreachable' | 'not-found' | 'failed'
    readonly problem: string
  }

  constructor (details: PackageLookupError['details'], options?: ErrorOptions) {
    super(`${details.package}: ${details.problem}`, options)
    this.details = details
  }
}

/** A package arrived as its registry has it, but does not hold the file it is known for. */
export class PackageContentError extends Error {
  override readonly name = 'PackageContentError'
  readonly code = 'PACKAGE_CONTENT_WRONG'
  readonly details: { readonly package: string, readonly file: string, readonly problem: string }

  constructor (details: PackageContentError['details'], options?: ErrorOptions) {
    super(`${details.file} of ${details.package}: ${details.problem}`, options)
    this.details = details
  }
}

/** A llama2.c checkpoint or tokenizer contradicts itself: cut short, overwritten, or something else altogether. */
export class DamagedCheckpointError extends Error {
  override readonly name = 'DamagedCheckpointError'
  readonly code = 'CHECKPOINT_DAMAGED'
  readonly details: { readonly file: string, readonly problem: string }

  constructor (details: DamagedCheckpointError['details'], options?: ErrorOptions) {
    super(`${details.file}: ${details.problem}`, options)
    this.details = details
  }
}
