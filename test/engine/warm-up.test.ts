import t from 'tap'
import type { ForwardBatch, ModelRunner, RunnerLimits, StepResult } from '@daybreak/engine/contract'
import { warmUp } from '../../packages/engine/src/warm-up.ts'

class RecordingRunner implements ModelRunner {
  readonly limits: RunnerLimits
  readonly batches: ForwardBatch[] = []

  constructor (limits: RunnerLimits) {
    this.limits = limits
  }

  async execute (batch: ForwardBatch): Promise<StepResult> {
    this.batches.push(batch)
    return { sampled: [], scored: new Map(), deviceSeconds: 0, hostSeconds: 0 }
  }

  async [Symbol.asyncDispose] (): Promise<void> {}
}

const limits: RunnerLimits = { maxBatchedTokens: 2048, maxSequences: 64, maxLogitRows: 96, maxModelLen: 8192, numKVBlocks: 8192, blockSize: 16, vocabSize: 2048 }

t.test('row counts on both sides of every matrix kernel run in order, each row scored while there is room', async t => {
  const runner = new RecordingRunner(limits)
  const progress: string[] = []
  await warmUp(runner, (done, total) => { progress.push(`${done}/${total}`) })
  t.same(runner.batches.map(({ sequences }) => sequences[0]?.tokens?.length), [1, 2, 3, 5, 9, 17, 33, 65, 129])
  t.same(runner.batches.map(({ sequences }) => sequences[0]?.scoreTargets?.length), [1, 2, 3, 5, 9, 17, 33, 65, 95])
  t.same(runner.batches.map(({ step }) => step), [0, 1, 2, 3, 4, 5, 6, 7, 8])
  t.equal(progress.at(-1), '9/9')
})

t.test('an engine with tiny limits is kept within them', async t => {
  for (const tiny of [
    { ...limits, maxLogitRows: 2 },
    { ...limits, maxBatchedTokens: 1 },
    { ...limits, maxModelLen: 2, numKVBlocks: 1 },
    { ...limits, numKVBlocks: 3, blockSize: 8, maxModelLen: 24 }
  ]) {
    const runner = new RecordingRunner(tiny)
    await warmUp(runner, () => {})
    t.ok(runner.batches.length > 0)
    for (const { tokens = [], blockTable, scoreTargets = [] } of runner.batches.flatMap(({ sequences }) => sequences)) {
      t.ok(tokens.length > 0 && tokens.length <= Math.min(tiny.maxBatchedTokens, tiny.maxModelLen, blockTable.length * tiny.blockSize))
      t.ok(scoreTargets.length + 1 <= tiny.maxLogitRows && scoreTargets.length <= tokens.length)
      t.ok(blockTable.every(block => block < tiny.numKVBlocks))
    }
  }
})
