import type { GenerationService } from './generation/generation-service.ts'
import type { HttpConfig, ServedModel } from './http-config.ts'
import type { ModelNames } from './openai/model-names.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { TextService } from './text/text-service.ts'
import type { ActiveRequests } from './transport/active-requests.ts'
import type { KeepAlive } from './transport/keep-alive.ts'

/** What routes need; made once by `buildApp`. */
export interface ServerContext {
  readonly config: HttpConfig
  readonly generation: GenerationService
  readonly text: TextService
  readonly model: ServedModel
  readonly names: ModelNames
  readonly telemetry: Telemetry
  readonly active: ActiveRequests
  readonly keepAlive: KeepAlive
  readonly drain: DrainState
}

/** Set once, when the server stops taking requests. */
export interface DrainState {
  readonly draining: boolean
  onDrain (listener: () => void): () => void
}
