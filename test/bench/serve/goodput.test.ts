import t from 'tap'
import { meetsObjectives, parseObjectives } from '../../../apps/server/src/bench/serve/goodput.ts'
import { anOutcome } from './an-outcome.ts'

t.test('objectives are metrics and milliseconds', async t => {
  t.strictSame([...parseObjectives(['ttft:500', 'tpot:50.5', 'e2el:0'])], [['ttft', 500], ['tpot', 50.5], ['e2el', 0]])
  t.equal(parseObjectives([]).size, 0)
  for (const part of ['itl:5', 'ttft', 'ttft:', 'ttft:x', 'ttft:-1', 'ttft:1:2', 'ttft:inf', ':5']) {
    t.throws(() => parseObjectives([part]), RangeError, part)
  }
})

t.test('a request is good when it meets all of them, bounds included', async t => {
  // Numbers that doubles hold exactly.
  const outcome = anOutcome({ ttft: 0.125, itls: [0.0625, 0.0625], latency: 0.25, outputTokens: 3 })
  t.ok(meetsObjectives(outcome, parseObjectives(['ttft:125', 'tpot:62.5', 'e2el:250'])))
  t.notOk(meetsObjectives(outcome, parseObjectives(['ttft:124.9', 'tpot:62.5', 'e2el:250'])))
  t.notOk(meetsObjectives(outcome, parseObjectives(['tpot:62.4'])))
  t.notOk(meetsObjectives(outcome, parseObjectives(['e2el:249'])))
})

t.test('a single output token has no time per token to miss', async t => {
  t.ok(meetsObjectives(anOutcome({ itls: [], outputTokens: 1 }), parseObjectives(['tpot:0'])))
})
