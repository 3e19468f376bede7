import type { Test } from 'tap'
import { parseHubReference, resolveHubModel } from '../../../apps/server/src/models/hub/index.ts'
import type { HubModel, ResolveHubOptions } from '../../../apps/server/src/models/hub/index.ts'
import { FakeHub } from '../../fakes/fake-hub.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { temporaryFolder } from '../temporary-folder.ts'

export const COMMIT = '0123456789abcdef0123456789abcdef01234567'
export const LATER_COMMIT = 'fedcba9876543210fedcba9876543210fedcba98'

/** Reproducible bytes; their seed is their length. */
export function randomBytes (length: number): Uint8Array {
  const random = new SeededRandom(length)
  return Uint8Array.from({ length }, () => Math.floor(random.uniform() * 256))
}

export const weights = randomBytes(200_000)

/** A whole model in Hugging Face's layout, and beside it what must stay on the Hub. */
export const modelFiles: Readonly<Record<string, Uint8Array | string>> = {
  '.gitattributes': '*.safetensors filter=lfs',
  'README.md': '# A model',
  'config.json': '{"architectures":["LlamaForCausalLM"]}',
  'generation_config.json': '{}',
  'tokenizer.json': '{"model":{}}',
  'tokenizer_config.json': '{}',
  'special_tokens_map.json': '{}',
  'chat_template.jinja': '{{ messages }}',
  'chat_template.json': '{"chat_template":"{{ messages }}"}',
  'tokenizer.model': 'sentencepiece',
  'model.safetensors': weights,
  'pytorch_model.bin': randomBytes(1000),
  'consolidated.safetensors': randomBytes(1001),
  'original/consolidated.00.pth': 'pickle',
  'onnx/model.onnx': 'onnx'
}

export interface HubFixture {
  readonly hub: FakeHub
  readonly home: string
  readonly notes: string[]
  /** `begin` and `update`, as they came. */
  readonly progress: Array<readonly [string, number | undefined] | number>
  /** Makes a model ready, without waiting between tries. */
  readonly resolve: (name: string, env?: Readonly<Record<string, string>>, options?: Partial<ResolveHubOptions>) => Promise<HubModel>
}

/** A Hub with `some/model` at COMMIT, and a client with an empty cache. */
export async function hubFixture (t: Test): Promise<HubFixture> {
  const hub = await FakeHub.start()
  t.teardown(async () => { await hub[Symbol.asyncDispose]() })
  hub.put('some/model', { commit: COMMIT, files: modelFiles })
  const home = await temporaryFolder(t)
  const notes: string[] = []
  const progress: HubFixture['progress'] = []
  return {
    hub,
    home,
    notes,
    progress,
    resolve: async (name, env = {}, options = {}) => {
      const reference = parseHubReference(name)
      if (reference === undefined) throw new Error(`${name} is no name of the Hub`)
      return await resolveHubModel(reference, {
        env: { ...hub.env(home), ...env },
        sleep: async () => {},
        progress: {
          begin: (name, totalBytes) => { progress.push([name, totalBytes]) },
          update: doneBytes => { progress.push(doneBytes) },
          note: message => { notes.push(message) },
          end: () => {}
        },
        ...options
      })
    }
  }
}
