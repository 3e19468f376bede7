import { readGreedyFixture } from '../../fixtures/read-fixtures.ts'
import { engineTest, openForTest } from './engine-under-test.ts'
import { SequenceDriver } from './sequence-driver.ts'

const { cases, maxNewTokens, stopTokens } = readGreedyFixture()
const requests = cases.map(({ name, prompt }) => ({ name, prompt, maxNewTokens, stopTokens }))
const options = { kvCacheBytes: 64 << 20, maxModelLen: 640, maxSequences: 12, maxBatchedTokens: 256 }

const f32 = await openForTest('daybreak-mini', { ...options, dtype: 'f32' })
const f16 = await openForTest('daybreak-mini', { ...options, dtype: 'f16', maxSequences: 3 })

engineTest('daybreak-mini generates the recorded greedy tokens for 12 prompts at once', f32, async (t, { runner }) => {
  const results = await new SequenceDriver(runner).run(requests, { chunk: 96, stagger: 1, inFlight: 2, seed: 11 })
  for (const { name, tokens } of cases) t.same(results.get(name)?.sampled.map(({ token }) => token), tokens, name)
})

engineTest('weights and keys stored as f16 do not turn a token of three of them', f16, async (t, { runner }) => {
  // Short texts whose closest decision is wider than 1.7: f16 keys and values move a logit by some hundredths.
  const three = requests.filter(({ name }) => ['greeting', 'json', 'tool-call'].includes(name))
  const results = await new SequenceDriver(runner).run(three, { chunk: 96, stagger: 0, inFlight: 2, seed: 12 })
  t.equal(three.length, 3)
  for (const { name } of three) t.same(results.get(name)?.sampled.map(({ token }) => token), cases.find(c => c.name === name)?.tokens, name)
})
