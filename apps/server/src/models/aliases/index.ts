import type { ModelAlias } from '../model-alias.ts'
import { packagedAlias } from './packaged-model.ts'
import { stories15m } from './stories15m.ts'
import { tinyllamaChat } from './tinyllama-chat.ts'

/** The models that come as npm packages, by the names a user types. */
export const PACKAGED_ALIASES: readonly ModelAlias[] = [packagedAlias(stories15m), packagedAlias(tinyllamaChat)]
