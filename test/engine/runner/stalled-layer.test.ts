import { blockId, sequenceId } from '@daybreak/kvcache'
import type { ForwardBatch } from '@daybreak/engine/contract'
import { StalledLayerError } from '../../../packages/engine/src/errors.ts'
import { GpuModelRunner } from '../../../packages/engine/src/model-runner.ts'
import { StepPacker, resultWords } from '../../../packages/engine/src/step-inputs.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'
import { greedy } from './sequence-driver.ts'

const gpu = await GpuHarness.open()
const limits = { maxBatchedTokens: 8, maxSequences: 2, maxLogitRows: 4, maxModelLen: 32, blockSize: 16, vocabSize: 100, numKVBlocks: 4 }

const aToken = (step: number): ForwardBatch => ({
  step,
  moves: [],
  sequences: [{ id: sequenceId('one'), stateRow: 0, tokens: [5], startPosition: 3, blockTable: [blockId(0)], sampling: greedy, history: undefined, scoreTargets: undefined, numScoreLogprobs: undefined }]
})

gpuTest('a step whose layer stalled has no results but an error, whether it was timed or not', gpu, async (t, gpu) => {
  const layout = { tileTokens: 4, split: () => ({ keys: 32, subgroups: 1 }), partialSplits: 8, groups: undefined }
  const mark = await gpu.upload([0, 0, 0, 1, 0, 0], 'u32')
  const packer = new StepPacker(limits, layout)
  let marked = 4
  const runner = new GpuModelRunner({
    device: gpu.device,
    limits,
    packer,
    buffers: { step: await gpu.poisoned(packer.maxWords, 'u32'), results: await gpu.upload(new Uint32Array(limits.maxLogitRows * resultWords).fill(7), 'u32'), counts: await gpu.poisoned(200, 'u32') },
    kv: { encodeMoves: () => {} },
    record: () => {},
    stallMark: () => ({ buffer: mark, offset: marked })
  })
  // Of steps of a kind only some are timed.
  for (let step = 0; step < 4; step++) t.equal((await runner.execute(aToken(step))).sampled[0]?.token, 7, 'a step that did not stall')
  marked = 12
  runner.forgetRecorded()
  if (gpu.device.capabilities.timestamps) {
    await t.rejects(runner.profile(aToken(4)), new StalledLayerError({ step: 4 }), 'what takes it apart has no times either')
  }
  for (let step = 4; step < 8; step++) await t.rejects(runner.execute(aToken(step)), new StalledLayerError({ step }), 'a step that did')
})
