import { LineRunner } from '../../apps/server/src/batches/index.ts'
import { httpConfigSchema } from '../../apps/server/src/http-config.ts'
import { generationEndpoints } from '../../apps/server/src/openai/generation-endpoint.ts'
import { ModelNames } from '../../apps/server/src/openai/model-names.ts'
import { backgroundObserver } from '../../apps/server/src/telemetry/background-observer.ts'
import { FakeGenerationService } from './fake-generation-service.ts'
import type { FakeScript } from './fake-generation-service.ts'
import { fakeTextService } from './fake-text-service.ts'
import type { FakeTextOptions } from './fake-text-service.ts'

export interface LineRunnerShape {
  /** Default: the test answers. */
  readonly script?: FakeScript
  readonly text?: FakeTextOptions
  /** Requests at a time. */
  readonly maxConcurrency?: number
  /** In place of every wait. */
  readonly onSleep?: (generation: FakeGenerationService) => void
}

const nothing = (): void => {}

/** The real runner of a batch's lines over a generation and a text service that are not, and without its waits. */
export function aLineRunner ({ script, text, maxConcurrency, onSleep = nothing }: LineRunnerShape = {}): { readonly runner: LineRunner, readonly generation: FakeGenerationService } {
  const generation = new FakeGenerationService(script)
  const textService = fakeTextService(text)
  const runner = new LineRunner({
    endpoints: generationEndpoints({ config: httpConfigSchema.parse({}), generation, text: textService, names: new ModelNames({ id: 'fake', created: 0, ownedBy: 'tests' }, []) }),
    generation,
    text: textService,
    observer: backgroundObserver({ promptScheduled: nothing, tokensGenerated: nothing }),
    sleep: async (_ms, signal) => {
      signal.throwIfAborted()
      onSleep(generation)
    },
    maxConcurrency
  })
  return { runner, generation }
}
