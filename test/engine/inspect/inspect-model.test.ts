import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { inspectModel, UnsupportedModelError } from '@daybreak/engine'
import type { InspectOptions, ModelInspection } from '@daybreak/engine'
import { writeFamilyModel } from '../../fixtures/families/read-family.ts'
import { inspectOptions } from './inspect-options.ts'
import { writeSafetensors } from '../weights/write-safetensors.ts'

const folder = mkdtempSync(join(tmpdir(), 'daybreak-inspection-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** A family model as a GPU of so much memory would find it; no GPU is opened. */
async function inspected (family: string, changes: Partial<InspectOptions> = {}): Promise<ModelInspection> {
  const path = join(folder, family)
  writeFamilyModel(family, path)
  return await inspectModel(inspectOptions(path, changes))
}

t.test('of a mixture\'s parameters those are active that a token is multiplied with', async t => {
  const { config, parameters, activeParameters } = await inspected('mixtral')
  const { layers, hiddenSize, experts } = config
  if (experts === undefined) throw new Error('a mixture has experts')
  const oneExpert = 3 * hiddenSize * experts.intermediateSize
  t.equal(parameters - activeParameters, layers.length * (experts.count - experts.perToken) * oneExpert)
  const dense = await inspected('llama-llama3')
  t.equal(dense.activeParameters, dense.parameters)
})

t.test('without memory to compare with, the needs are told and no verdict is made up', async t => {
  const { least, most, limits, kvBytesPerToken, fit } = await inspected('llama-llama3', { maxModelLen: 100 })
  t.strictSame(fit, { type: 'unknown' })
  t.match(least, { sequences: 1, tokensEach: 100, kvTokens: 112 }, 'whole blocks')
  t.match(most, { sequences: limits.maxSequences, tokensEach: 100, kvTokens: 448 }, 'sequences share no block')
  t.equal(least.kvBytes, 112 * kvBytesPerToken)
  t.equal(least.totalBytes, least.weightBytes + least.workingBytes + least.kvBytes)
})

t.test('a model fits from the byte on that it needs', async t => {
  const { least } = await inspected('llama-llama3')
  const enough = await inspected('llama-llama3', { deviceBytes: least.totalBytes })
  t.match(enough.fit, { type: 'fits', memory: { bytes: least.totalBytes, source: 'stated' }, use: { sequences: 1, totalBytes: least.totalBytes } })
  const { fit } = await inspected('llama-llama3', { deviceBytes: least.totalBytes - 1 })
  t.equal(fit.type, 'does-not-fit')
})

t.test('for what does not fit, the longest context is found that does', async t => {
  const { least, limits } = await inspected('gemma3')
  const deviceBytes = least.totalBytes - least.kvBytes / 2
  const { fit } = await inspected('gemma3', { deviceBytes })
  const longest = (fit.type === 'does-not-fit' ? fit.longestContext : undefined) ?? 0
  t.ok(longest > limits.maxModelLen / 4 && longest < limits.maxModelLen, `${longest} tokens`)
  t.match((await inspected('gemma3', { deviceBytes, maxModelLen: longest })).fit, { type: 'fits', use: { sequences: 1, tokensEach: longest } })
  t.equal((await inspected('gemma3', { deviceBytes, maxModelLen: longest + 1 })).fit.type, 'does-not-fit')
})

t.test('no context is short enough for weights that do not fit', async t => {
  const { least } = await inspected('mixtral')
  t.match((await inspected('mixtral', { deviceBytes: least.weightBytes - 1 })).fit, { type: 'does-not-fit', longestContext: undefined })
})

t.test('a stated KV cache is what there is, whatever the context', async t => {
  const { kvBytesPerToken } = await inspected('llama-llama3')
  const { least, most } = await inspected('llama-llama3', { kvCacheBytes: 5 * 16 * kvBytesPerToken + 1 })
  t.match(least, { kvTokens: 80, kvBytes: 80 * kvBytesPerToken, sequences: 1, tokensEach: 80 }, 'whole blocks, and one sequence of as many tokens')
  t.strictSame(most, least)
})

t.test('what the engine would refuse is refused before any file of weights is looked at', async t => {
  const path = join(folder, 'unknown')
  writeFamilyModel('llama-llama3', path)
  writeFileSync(join(path, 'config.json'), JSON.stringify({ architectures: ['MambaForCausalLM'] }))
  writeFileSync(join(path, 'model.safetensors'), writeSafetensors({}))
  await t.rejects(inspected('llama-llama3', { model: { type: 'directory', path } }), UnsupportedModelError)
})
