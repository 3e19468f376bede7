import t from 'tap'
import { isKnown, rowsToTry } from '../../../packages/engine/src/tuning/choose-whole-layers.ts'

const limits = { maxBatchedTokens: 2048, maxSequences: 64, maxLogitRows: 64, maxModelLen: 4096, blockSize: 16, vocabSize: 1000, numKVBlocks: 10_000 }
const summary = (changed: Partial<typeof limits>): unknown => rowsToTry({ ...limits, ...changed }).map(({ rows, sequences, contexts }) => [rows, sequences, contexts.at(-1)])

t.test('whole layers are tried for as many sequences, and contexts, as an engine may have', t => {
  t.strictSame(summary({}), [[1, 1, 4096], [2, 2, 4096], [4, 4, 4096], [8, 8, 4096]])
  t.strictSame(summary({ maxSequences: 1 }), [[1, 1, 4096]])
  t.strictSame(summary({ maxSequences: 5 }), [[1, 1, 4096], [2, 2, 4096], [4, 4, 4096], [8, 5, 4096]], 'five have the kernel of eight')
  t.strictSame(summary({ maxBatchedTokens: 2 }), [[1, 1, 4096], [2, 2, 4096]])
  t.strictSame(summary({ numKVBlocks: 128 }), [[1, 1, 2048], [2, 2, 1024], [4, 4, 512], [8, 8, 256]], 'what the KV cache has room for')
  t.strictSame(summary({ numKVBlocks: 4 }), [[1, 1, 64], [2, 2, 32], [4, 4, 16]], 'no room for eight')
  const [one] = rowsToTry({ ...limits, maxModelLen: 1000 })
  t.strictSame(one?.contexts, [512, 1000], 'each context once')
  t.end()
})

t.test('what was measured with other limits is measured again only where more keys could change the answer', t => {
  const [one, two] = rowsToTry(limits)
  if (one === undefined || two === undefined) throw new TypeError('nothing is tried')
  const measured = { rows: 1, workgroups: 128, teams: 32, ahead: 4, mostKeys: 2048, measuredKeys: 2048 }
  t.notOk(isKnown([], one))
  t.notOk(isKnown([measured], one), 'as fast as far as it was measured, which is not far enough')
  t.ok(isKnown([measured], { ...one, contexts: [512, 2048] }))
  t.ok(isKnown([{ ...measured, mostKeys: 1500 }], one), 'fewer keys were slower already')
  t.ok(isKnown([{ ...measured, mostKeys: 0, measuredKeys: 512 }], one))
  t.notOk(isKnown([{ ...measured, mostKeys: 0 }], two), 'of other rows')
  t.end()
})
