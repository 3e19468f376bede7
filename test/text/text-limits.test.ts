import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { neighbouringWorkers, openTextService } from '../../apps/server/src/text/index.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { randomText } from './random-text.ts'
import { daybreakMini, sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

const whole = { addSpecialTokens: false }

/** Fewest tokens of a text as the service knows them without tokenising it; 0 where it knows nothing. */
async function fewestTokens (service: Awaited<ReturnType<typeof openTextService>>, text: string): Promise<number> {
  const refusal = await service.encode(text, { ...whole, maxTokens: 0 }).catch((error: unknown) => error)
  const parsed = z.object({ code: z.literal('TEXT_TOO_LONG'), details: z.object({ fewestTokens: z.number() }) }).safeParse(refusal)
  return parsed.success ? parsed.data.details.fewestTokens : 0
}

t.test('a text that cannot fit is refused before it is tokenised, and none that could fit is', async t => {
  // No worker could be started from here: whatever is answered was answered without one.
  const service = await openTextService(daybreakMini, { inlineCharacters: 64, workers: { ...neighbouringWorkers(), tokenizer: new URL('file:///nowhere.js') } })
  t.teardown(async () => { await service.close() })
  await t.rejects(service.encode('a'.repeat(1_000_000), { ...whole, maxTokens: 8192 }), { code: 'TEXT_TOO_LONG', details: { bytes: 1_000_000, maxTokens: 8192 } })

  const inline = await openTextService(daybreakMini, { inlineCharacters: Infinity })
  t.teardown(async () => { await inline.close() })
  const random = new SeededRandom(21)
  for (let round = 0; round < 100; round++) {
    const text = round % 2 === 0 ? randomText(random, 12) : ' '.repeat(random.integer(400)) + 'line amber-anchor'.repeat(random.integer(20))
    const numTokens = (await inline.encode(text, whole)).length
    const fewest = await fewestTokens(inline, text)
    if (fewest > numTokens) t.fail(`seed 21, round ${round}: ${numTokens} tokens, said to be at least ${fewest}`)
    t.equal((await inline.encode(text, { ...whole, maxTokens: numTokens })).length, numTokens)
  }
})

t.test('a conversation is measured as its template renders it', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  const messages = Array.from({ length: 400 }, () => ({ role: 'user', content: 'x'.repeat(100) }))
  await t.rejects(service.encodeChat(messages, { addGenerationPrompt: true, maxTokens: 1000 }), { code: 'TEXT_TOO_LONG' })
})

t.test('a tokenizer that may drop text, or make one token of any length of it, gives no bound', async t => {
  const known = sentencePieceTokenizer()
  const fewestOf = async (tokenizer: unknown): Promise<number> => {
    const directory = await writeFolder({ 'tokenizer.json': tokenizer })
    const service = await openTextService(directory)
    const fewest = await fewestTokens(service, 'x'.repeat(2000))
    await service.close()
    await rm(directory, { recursive: true })
    return fewest
  }
  t.ok(await fewestOf(known) > 0)
  t.ok(await fewestOf({ ...known, normalizer: { type: 'NFC' } }) > 0)
  t.equal(await fewestOf({ ...known, normalizer: { type: 'Strip', strip_left: true, strip_right: true } }), 0)
  t.equal(await fewestOf({ ...known, pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'Removed', invert: false } }), 0)
  t.equal(await fewestOf({ ...known, added_tokens: known.added_tokens.map(token => ({ ...token, rstrip: true })) }), 0)
  t.equal(await fewestOf({ ...known, model: { ...known.model, byte_fallback: false } }), 0, 'fuse_unk')
  const byteLevel = z.looseObject({ model: z.looseObject({ vocab: z.record(z.string(), z.number()) }) })
    .parse(JSON.parse(await readFile(join(daybreakMini, 'tokenizer.json'), 'utf8')))
  t.ok(await fewestOf(byteLevel) > 0)
})

t.test('more texts than may wait for a worker are refused, and those that wait are answered', async t => {
  const service = await openTextService(daybreakMini, { inlineCharacters: 0, maxTokenizerThreads: 1, maxWaiting: 3 })
  t.teardown(async () => { await service.close() })
  const results = await Promise.allSettled(Array.from({ length: 10 }, async () => await service.encode('hello', whole)))
  const refused = results.filter(result => result.status === 'rejected')
  t.ok(refused.length >= 6, `${refused.length} refused`)
  for (const { reason } of refused) t.match(reason, { code: 'TEXT_BUSY', details: { numWaiting: 3, limit: 3 } })
  for (const result of results) if (result.status === 'fulfilled') t.equal(service.decode(result.value, { skipSpecialTokens: false }), 'hello')
})

t.test('a short text is tokenised at once by itself, but by a worker as one of many', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  const turnsUntil = async (encoding: Promise<readonly number[]>): Promise<number> => {
    let turns = 0
    const state = { done: false }
    encoding.then(() => { state.done = true }, () => { state.done = true })
    for (; !state.done; turns++) await new Promise(resolve => setImmediate(resolve))
    return turns
  }
  t.equal(await turnsUntil(service.encode('hello', whole)), 1)
  t.equal(await turnsUntil(service.encode('hello', { ...whole, requestCharacters: 2048 })), 1)
  t.ok(await turnsUntil(service.encode('hello', { ...whole, requestCharacters: 2049 })) > 1)
  t.same(await service.encode('hello', { ...whole, requestCharacters: 2049 }), await service.encode('hello', whole))
})
