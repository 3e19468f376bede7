import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NoAdapterError, openEngine } from '@daybreak/engine'
import type { Engine, StorageType } from '@daybreak/engine'
import { familyNames, readFamilyRecording, writeFamilyModel } from '../../fixtures/families/read-family.ts'
import { logSoftmax, topLogprobs } from '../../reference/logprobs.ts'
import { familyCases } from './family-cases.ts'
import type { FamilyCases } from './family-cases.ts'
import { SequenceDriver, greedy } from './sequence-driver.ts'
import type { DrivenResult } from './sequence-driver.ts'

/**
 * Each family's small random model against what Hugging Face transformers computed for it (fixtures/families). All prompts of a
 * recording share an engine, and so steps: ragged lengths, prompts cut into chunks of 16, decodes beside prefills.
 */
t.setTimeout(1_800_000)

// f32: sums in another order and rotary angles rounded to f32, some 1e-4 in practice. f16: weights, keys and values, and on tensor
// cores activations, are rounded by 2⁻¹¹ each; relative to the row's largest logit, since weights this random amplify it.
const F32_TOLERANCE = 2e-3
const F16_TOLERANCE = 2e-2
const COMPARED = 20
// Which experts a token goes to is decided by a margin in the router's output, and f16 moves that output: a token whose margin, or an
// earlier token's, is below this may go elsewhere and is another computation. No such rows are compared in f16.
const F16_ROUTER_MARGIN = 1e-2

const folder = mkdtempSync(join(tmpdir(), 'daybreak-families-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
for (const name of familyNames) writeFamilyModel(name, join(folder, name))

// On a software adapter f16 is what f32 is, with other conversions, and each family would compile all of its kernels again.
const onSoftware = ['llama-llama3', 'gemma3']
let onlySoftware = true

t.test('each family computes transformers\' logits', async t => {
  for (const name of familyNames) await checkFamily(t, name, 'f32')
})

t.test('f16 weights and cache stay within two hundredths', async t => {
  const names = onlySoftware ? onSoftware : familyNames
  t.comment(onlySoftware ? `a software adapter checks ${names.join(' and ')}; a GPU all of them` : 'every family')
  for (const name of names) await checkFamily(t, name, 'f16')
})

async function checkFamily (t: Test, name: string, dtype: StorageType): Promise<void> {
  const recording = readFamilyRecording(name)
  for (const cases of familyCases(name, recording)) {
    const engine = await open(name, dtype, cases.maxModelLen)
    if (engine === undefined) {
      t.pass(`${name}: skipped, there is no adapter`)
      return
    }
    try {
      onlySoftware = engine.report.adapter.software
      await compare(t, `${name} in ${dtype}, contexts up to ${cases.maxModelLen}`, engine, cases, recording.vocabSize, dtype)
    } finally {
      await engine.runner[Symbol.asyncDispose]()
    }
  }
}

async function compare (t: Test, title: string, { runner }: Engine, { logits, greedy: continued }: FamilyCases, vocabSize: number, dtype: StorageType): Promise<void> {
  const sampling = { ...greedy, numLogprobs: COMPARED }
  const requests = [
    ...logits.map(({ name, prompt }) => ({ name, prompt, maxNewTokens: 1, sampling, promptScores: COMPARED })),
    ...continued.map(({ name, prompt, tokens }) => ({ name, prompt, maxNewTokens: tokens.length, sampling }))
  ]
  const results = await new SequenceDriver(runner).run(requests, { chunk: 16, stagger: 1, inFlight: 1, seed: 11 })
  let worst = 0
  let otherOrder = 0
  let undecided = 0
  let compared = 0
  const rowAgainst = (row: Float64Array, reported: DrivenResult['sampled'][number] | DrivenResult['scored'][number] | undefined): void => {
    compared++
    const expected = logSoftmax(row)
    const top = reported?.topLogprobs ?? []
    const scale = dtype === 'f32' ? 1 : row.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0)
    const tolerance = dtype === 'f32' ? F32_TOLERANCE : F16_TOLERANCE * scale
    if (top.length !== COMPARED) worst = NaN
    for (const { token, logprob } of top) worst = Math.max(worst, Math.abs(logprob - (expected[token] ?? NaN)) / scale)
    const best = topLogprobs(row, 6)
    for (let rank = 0; rank < 5; rank++) {
      const margins = [best[rank - 1], best[rank + 1]].map(other => Math.abs((other?.logprob ?? Infinity) - (best[rank]?.logprob ?? NaN)))
      if (Math.min(...margins) > 2 * tolerance && top[rank]?.token !== best[rank]?.token) otherOrder++
    }
  }
  const isDecided = (decided: readonly number[] | undefined, row: number): boolean => {
    if (dtype === 'f32' || decided === undefined || (decided[row] ?? 0) >= F16_ROUTER_MARGIN) return true
    undecided++
    return false
  }
  for (const { name, rows, numRows, decided } of logits) {
    const result = results.get(name)
    const reported = [...result?.scored ?? [], ...result?.sampled ?? []].slice(-numRows)
    t.equal(reported.length, numRows, `${title}, ${name}: a row for each recorded one`)
    reported.forEach((row, i) => isDecided(decided, i) && rowAgainst(Float64Array.from(rows.subarray(i * vocabSize, (i + 1) * vocabSize)), row))
  }
  for (const { name, tokens, rows, decided } of continued) {
    const sampled = results.get(name)?.sampled ?? []
    if (dtype === 'f32') t.strictSame(sampled.map(({ token }) => token), tokens, `${title}, ${name}: the same tokens`)
    // After a token of another choice, the rest continues another text.
    const same = sampled.findIndex(({ token }, i) => token !== tokens[i])
    sampled.slice(0, same === -1 ? undefined : same + 1).forEach((row, i) => isDecided(decided, i) && rowAgainst(Float64Array.from(rows.subarray(i * vocabSize, (i + 1) * vocabSize)), row))
  }
  t.ok(compared >= 5, `${title}: ${compared} rows compared`)
  if (undecided > 0) t.comment(`${title}: ${undecided} rows not compared, a router decides them by less than ${F16_ROUTER_MARGIN}`)
  t.ok(worst <= (dtype === 'f32' ? F32_TOLERANCE : F16_TOLERANCE), `${title}: largest difference ${worst.toExponential(2)}`)
  t.equal(otherOrder, 0, `${title}: the five most likely tokens in order, wherever the margin allows`)
}

/** Undefined without an adapter, which CI must have. */
async function open (name: string, dtype: StorageType, maxModelLen: number): Promise<Engine | undefined> {
  try {
    return await openEngine({
      model: { type: 'directory', path: join(folder, name) },
      dtype,
      adapter: undefined,
      debug: false,
      blockSize: 8,
      kvCacheBytes: 8 << 20,
      maxModelLen,
      maxSequences: 8,
      maxBatchedTokens: 64,
      onProgress: () => {}
    })
  } catch (error) {
    const { CI } = process.env
    if (CI === 'true' || !(error instanceof NoAdapterError)) throw error
    return undefined
  }
}
