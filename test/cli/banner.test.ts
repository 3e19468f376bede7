import t from 'tap'
import { banner } from '../../apps/server/src/cli/banner.ts'
import { engineReport } from '../bench/engine/engine-report.ts'

const capacity = {
  maxModelLen: 2048, maxSequences: 4, maxBatchedTokens: 512, vocabSize: 100, numKVBlocks: 8, numHostSlots: 0, blockSize: 16, dtype: 'f16', adapter: 'Paper GPU', softwareAdapter: true
}
const facts = { model: 'paper', address: 'http://127.0.0.1:8000', capacity, report: engineReport, readySeconds: 1.25 }

t.test('what the files ask for and do not get is one line, and usually none', async t => {
  t.notMatch(banner(facts), /^ +note /m)
  const noted = banner({ ...facts, report: { ...engineReport, notes: ['inputs are not quantised', 'the KV cache is not quantised'] } })
  t.match(noted, /^ {2}note {6}inputs are not quantised; the KV cache is not quantised$/m)
  t.equal(noted.split('\n').length, banner(facts).split('\n').length + 1)
})
