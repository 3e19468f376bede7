import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { addBatchCommand } from '../../../apps/server/src/bench/batch/batch-command.ts'
import { batchPrompts } from '../../../apps/server/src/bench/batch/batch-workload.ts'
import { runBatch } from '../../../apps/server/src/bench/batch/run-batch.ts'
import type { BatchPolicy } from '../../../apps/server/src/bench/batch/run-batch.ts'
import type { CommandContext } from '../../../apps/server/src/cli/command-context.ts'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { FakeModelRunner } from '../../fakes/fake-model-runner.ts'

interface Report {
  policies: Array<{ name: string, policy: BatchPolicy, savedShare: number, bestSavedShare: number, medianOccupancy: number, steps: number }>
}

/** What a dry run prints, its error if it fails. */
async function bench (...flags: readonly string[]): Promise<string> {
  let stdout = ''
  const context: CommandContext = { env: {}, stdout: { write: text => { stdout += text } }, stderr: { write: text => { if (text.startsWith('daybreak: ')) stdout += text } }, onSignal: () => {}, exit: () => {} }
  await runCommandLine(['batch', '--dry-run', ...flags], context, [(program, context) => {
    addBatchCommand(program, context, async () => { throw new Error('a dry run opens no engine') })
  }])
  return stdout
}

t.test('in a cache that holds few documents, groups save all that can be saved and arrival little of it', async t => {
  const report = JSON.parse(await bench('--json', '--mean-degree', '2.8', '--prompts', '1200', '--prefix', '480', '--distinct', '48', '--output', '24', '--kv-blocks', '2400')) as Report
  const saved = Object.fromEntries(report.policies.map(({ policy, savedShare }) => [policy, savedShare]))
  const best = report.policies[0]?.bestSavedShare ?? NaN
  t.ok((saved['groups'] ?? 0) > best - 0.005, `${saved['groups']} of ${best}`)
  t.ok((saved['arrival'] ?? 1) < 0.7 * best, `${saved['arrival']}`)
  t.ok((saved['order'] ?? 0) > (saved['arrival'] ?? 1) && (saved['order'] ?? 1) < (saved['groups'] ?? 0))
  t.ok((report.policies.find(({ policy }) => policy === 'groups')?.medianOccupancy ?? 0) > 0.9, 'steps are full')
})

t.test('prompts that share nothing take as many steps in groups as without', async t => {
  const { policies } = JSON.parse(await bench('--json', '--degree', '1', '--prompts', '100', '--prefix', '100')) as Report
  t.same(new Set(policies.map(({ bestSavedShare }) => bestSavedShare)), new Set([0]))
  t.equal(new Set(policies.map(({ steps }) => steps)).size, 1)
})

t.test('the table and the plot name every policy', async t => {
  const plot = join(t.testdir({}), 'steps.svg')
  const table = await bench('--prompts', '40', '--degree', '4', '--prefix', '64', '--plot', plot)
  const svg = await readFile(plot, 'utf8')
  for (const policy of ['arrival', 'order', 'groups']) {
    t.match(table, policy)
    t.match(svg, `${policy}: `)
  }
  t.match(table, /at best, with an infinite cache, \d+\.\d % of the prompt tokens are saved/)
  t.equal(svg.match(/<polyline/g)?.length, 3)
})

t.test('every degree is a batch of its own, with its ratios to its own first policy', async t => {
  const { policies } = JSON.parse(await bench('--json', '--degree', '1,4', '--prompts', '40', '--prefix', '64', '--distinct', '16', '--output', '4', '--policies', 'arrival,groups')) as Report
  t.same(policies.map(({ name, policy }) => `${name}: ${policy}`), ['degree 1: arrival', 'degree 1: groups', 'degree 4: arrival', 'degree 4: groups'])
  t.match(await bench('--degree', '1,4', '--prompts', '8', '--prefix', '64'), /degree 4/)
})

t.test('a trace is replayed in its order with lengths scaled to the context, and larger caches reuse more of it', async t => {
  // Conversations of growing prompts, in turn: each goes on where it was three requests ago.
  const turns = Array.from({ length: 24 }, (_, i) => ({ timestamp: i, input_length: 512 * (1 + Math.floor(i / 3)), output_length: 512, hash_ids: Array.from({ length: 1 + Math.floor(i / 3) }, (_, block) => 100 * (i % 3) + block) }))
  const folder = t.testdir({ 'trace.jsonl': turns.map(turn => JSON.stringify(turn)).join('\n'), 'broken.jsonl': '{"input_length":3}\n' })
  const { policies } = JSON.parse(await bench('--json', '--trace', join(folder, 'trace.jsonl'), '--context', '576', '--kv-blocks', '40,4000', '--max-num-seqs', '1', '--policies', 'arrival')) as Report
  t.same(policies.map(({ name }) => name), ['40 blocks', '4,000 blocks'])
  const [small, large] = policies
  t.equal(large?.savedShare, large?.bestSavedShare, 'what could be reused is')
  t.ok((small?.savedShare ?? 1) < 0.5 * (large?.savedShare ?? 0), `${small?.savedShare} of ${large?.savedShare}`)
  t.match(await bench('--trace', join(folder, 'broken.jsonl')), /line 1 of .* is no request of a trace/)
})

t.test('every policy runs every prompt to its end, with the prefixes that a checking runner expects', async t => {
  const prompts = batchPrompts({ numPrompts: 30, degree: { type: 'fixed', value: 5 }, prefixTokens: 18, distinctTokens: 3, seed: 1 }, 1000)
  for (const policy of ['arrival', 'order', 'groups'] as const) {
    const runner = new FakeModelRunner({ maxSequences: 8, numKVBlocks: 40 })
    const { outputTokens, stepTokens, computedPromptTokens } = await runBatch({ policy, prompts, outputTokens: prompts.map(() => 4), kvBlocks: undefined, runner, now: () => 0, onProgress: () => {} })
    t.equal(outputTokens, 30 * 4)
    t.equal(stepTokens.reduce((sum, tokens) => sum + tokens, 0), computedPromptTokens + 30 * 3, policy)
  }
})
