import { rm } from 'node:fs/promises'
import t from 'tap'
import type { Test } from 'tap'
import { neighbouringWorkers, openTextService } from '../../apps/server/src/text/index.ts'
import type { TextService, TextServiceOptions } from '../../apps/server/src/text/index.ts'
import { sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

const long = 'word '.repeat(1_000)
const whole = { addSpecialTokens: false }

/** Without a chat template, and so without a worker for one. */
async function aService (t: Test, options: Partial<TextServiceOptions> = {}): Promise<TextService> {
  const directory = await writeFolder({ 'tokenizer.json': sentencePieceTokenizer() })
  const service = await openTextService(directory, options)
  t.teardown(async () => {
    await service.close()
    await rm(directory, { recursive: true })
  })
  return service
}

/** Worker threads that were started since. */
function countWorkers (t: Test): () => number {
  let count = 0
  const listener = (): void => { count += 1 }
  process.on('worker', listener)
  t.teardown(() => { process.off('worker', listener) })
  return () => count
}

t.test('a service that is warm has the worker that the first long text needs', async t => {
  const service = await aService(t)
  const numWorkers = countWorkers(t)
  const warmingUp = service.warmUp()
  t.equal(service.isWarmingUp, true)
  await warmingUp
  t.equal(service.isWarmingUp, false)
  t.equal(numWorkers(), 1)
  t.ok((await service.encode(long, whole)).length >= 1_000)
  t.equal(numWorkers(), 1, 'no other was started for it')
})

t.test('without a warm-up no worker is started before it is needed', async t => {
  const service = await aService(t)
  const numWorkers = countWorkers(t)
  t.equal(service.isWarmingUp, false)
  await service.encode('short', whole)
  t.equal(numWorkers(), 0)
  await service.encode(long, whole)
  t.equal(numWorkers(), 1)
})

t.test('a worker that does not start fails the warm-up, not the service', async t => {
  const service = await aService(t, { workers: { ...neighbouringWorkers(), tokenizer: new URL('file:///nowhere.js') } })
  await t.rejects(service.warmUp(), { code: 'TEXT_ENCODING_FAILED', cause: { code: 'ERR_MODULE_NOT_FOUND' } })
  t.equal(service.isWarmingUp, false)
  t.ok((await service.encode('short', whole)).length > 0)
})

t.test('closing ends a warm-up', async t => {
  const service = await aService(t)
  const warmingUp = service.warmUp()
  await service.close()
  await t.resolves(warmingUp)
  t.equal(service.isWarmingUp, false)
})
