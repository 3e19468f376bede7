import { PACKAGED_ALIASES } from './aliases/index.ts'
import type { ModelAlias } from './model-alias.ts'

/** Every alias the program knows. */
export const MODEL_ALIASES: readonly ModelAlias[] = PACKAGED_ALIASES
