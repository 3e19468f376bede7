import t from 'tap'
import type { ForwardBatch, ModelRunner, RunnerLimits, StepResult } from '@daybreak/engine/contract'
import { warmUp } from '../../apps/server/src/engine-process/warm-up.ts'

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

t.test('one to many sequences and short and long prompts are run, in order', async t => {
  const runner = new RecordingRunner(limits)
  const progress: string[] = []
  await warmUp(runner, ({ stage, done, total }) => { progress.push(`${stage} ${done}/${total}`) })
  t.same(runner.batches.map(({ sequences }) => sequences.map(({ tokens }) => tokens?.length).join('+')),
    ['1', '1+1', '1+1+1+1', '1+1+1+1+1+1+1+1', '40', '200'])
  t.same(runner.batches.map(({ step }) => step), [0, 1, 2, 3, 4, 5])
  t.equal(progress.at(-1), 'kernels 6/6')
})

t.test('an engine with tiny limits is kept within them', async t => {
  for (const tiny of [
    { ...limits, maxSequences: 1 },
    { ...limits, maxSequences: 3, maxLogitRows: 2 },
    { ...limits, maxBatchedTokens: 1 },
    { ...limits, maxModelLen: 2, numKVBlocks: 1 },
    { ...limits, numKVBlocks: 3, blockSize: 8, maxModelLen: 24 }
  ]) {
    const runner = new RecordingRunner(tiny)
    await warmUp(runner, () => {})
    t.ok(runner.batches.length > 0)
    for (const { sequences } of runner.batches) {
      t.ok(sequences.length >= 1 && sequences.length <= Math.min(tiny.maxSequences, tiny.maxLogitRows))
      t.ok(sequences.reduce((sum, { tokens }) => sum + (tokens?.length ?? 1), 0) <= tiny.maxBatchedTokens)
      const blocks = sequences.flatMap(({ blockTable }) => blockTable)
      t.equal(new Set(blocks).size, blocks.length, 'sequences share no block')
      for (const { blockTable, tokens = [], stateRow } of sequences) {
        t.ok(blockTable.every(block => block < tiny.numKVBlocks))
        t.ok(tokens.length > 0 && tokens.length < tiny.maxModelLen && tokens.length <= blockTable.length * tiny.blockSize)
        t.ok(stateRow < tiny.maxSequences)
      }
    }
  }
})
