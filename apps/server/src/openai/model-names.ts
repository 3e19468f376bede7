import type { ServedModel } from '../http-config.ts'

/** The names one model answers to. */
export class ModelNames {
  readonly all: readonly string[]

  /** @param extra more names, from the configuration. */
  constructor (model: ServedModel, extra: readonly string[]) {
    this.all = [...new Set([model.id, ...(model.aliases ?? []), ...extra])]
  }

  /** The name for the response: the one asked for, or the model's own when none was; undefined when it is another model's. */
  resolve (asked: string | undefined): string | undefined {
    return asked === undefined ? this.all[0] : this.all.find(name => name === asked)
  }
}
