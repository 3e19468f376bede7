import { join } from 'node:path'
import { Readable } from 'node:stream'
import { silentLogger } from '../../../apps/server/src/cli/logger.ts'
import t from 'tap'
import { BatchProcessor, BatchStore, LineRunner } from '../../../apps/server/src/batches/index.ts'
import { hasEnded } from '../../../apps/server/src/batches/batch-object.ts'
import { FileStore } from '../../../apps/server/src/files/index.ts'
import { httpConfigSchema } from '../../../apps/server/src/http-config.ts'
import { generationEndpoints } from '../../../apps/server/src/openai/generation-endpoint.ts'
import { ModelNames } from '../../../apps/server/src/openai/model-names.ts'
import { backgroundObserver } from '../../../apps/server/src/telemetry/background-observer.ts'
import { FakeGenerationService, says } from '../../fakes/fake-generation-service.ts'
import { fakeTextService } from '../../fakes/fake-text-service.ts'

const PATH = '/v1/completions'
const nothing = (): void => {}

t.test('a batch that the disk has no room for waits until there is some, and loses nothing', async t => {
  const folder = t.testdir({})
  const now = (): number => 1_000
  const files = await FileStore.open(join(folder, 'files'), now)
  const batches = await BatchStore.open(join(folder, 'batches'))
  const generation = new FakeGenerationService(says('yes'))
  const text = fakeTextService()
  const names = new ModelNames({ id: 'fake', created: 0, ownedBy: 'tests' }, [])
  let numWaits = 0
  const sleep = async (): Promise<void> => { numWaits++ }
  const processor = new BatchProcessor({
    batches,
    files,
    runner: new LineRunner({
      endpoints: generationEndpoints({ config: httpConfigSchema.parse({}), generation, text, names }),
      generation,
      text,
      observer: backgroundObserver({ promptScheduled: nothing, tokensGenerated: nothing }),
      sleep
    }),
    maxRunning: 4,
    limits: { maxLines: 10, maxLineBytes: 1000, maxTokensTogether: 100 },
    now,
    sleep,
    logger: silentLogger
  })
  const update = batches.update.bind(batches)
  let numRefusals = 0
  batches.update = async (id, change) => {
    // From the moment that its answers are there.
    if (batches.get(id)?.status === 'in_progress' && numRefusals++ < 3) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    return await update(id, change)
  }
  const line = (id: string): string => JSON.stringify({ custom_id: id, method: 'POST', url: PATH, body: { prompt: id, max_tokens: 4 } })
  const content = await files.receive(Readable.from([Buffer.from(`${line('a')}\n${line('b')}\n`)]), 1000)
  const input = await files.publish(content, { filename: 'in.jsonl', purpose: 'batch', expiresAfter: undefined })
  const { id } = await processor.create({ endpoint: PATH, inputFileId: input.id, completionWindow: '24h', windowSeconds: 86_400, metadata: null, outputExpiresAfter: null })
  for (let batch = batches.get(id); batch !== undefined && !hasEnded(batch); batch = batches.get(id)) await new Promise(resolve => setImmediate(resolve))
  await processor.stop()
  t.match(batches.get(id), { status: 'completed', request_counts: { total: 2, completed: 2, failed: 0 } })
  t.equal(numWaits, 3)
  t.equal(generation.streams.length, 2, 'no line is computed twice')
})
