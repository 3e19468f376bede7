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
  bestSavedShare: number
  policies: Array<{ policy: BatchPolicy, savedShare: number, medianOccupancy: number, steps: number }>
}

async function bench (...flags: readonly string[]): Promise<string> {
  let stdout = ''
  const context: CommandContext = { env: {}, stdout: { write: text => { stdout += text } }, stderr: { write: () => {} }, onSignal: () => {}, exit: () => {} }
  await runCommandLine(['batch', '--dry-run', ...flags], context, [(program, context) => {
    addBatchCommand(program, context, async () => { throw new Error('a dry run opens no engine') })
  }])
  return stdout
}

t.test('in a cache that holds few documents, groups save all that can be saved and arrival little of it', async t => {
  const report = JSON.parse(await bench('--json', '--mean-degree', '2.8', '--prompts', '1200', '--prefix', '480', '--distinct', '48', '--output', '24', '--kv-blocks', '2400')) as Report
  const saved = Object.fromEntries(report.policies.map(({ policy, savedShare }) => [policy, savedShare]))
  t.ok((saved['groups'] ?? 0) > report.bestSavedShare - 0.005, `${saved['groups']} of ${report.bestSavedShare}`)
  t.ok((saved['arrival'] ?? 1) < 0.7 * report.bestSavedShare, `${saved['arrival']}`)
  t.ok((saved['order'] ?? 0) > (saved['arrival'] ?? 1) && (saved['order'] ?? 1) < (saved['groups'] ?? 0))
  t.ok((report.policies.find(({ policy }) => policy === 'groups')?.medianOccupancy ?? 0) > 0.9, 'steps are full')
})

t.test('prompts that share nothing take as many steps in groups as without', async t => {
  const { policies, bestSavedShare } = JSON.parse(await bench('--json', '--degree', '1', '--prompts', '100', '--prefix', '100')) as Report
  t.equal(bestSavedShare, 0)
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
  t.match(table, /at best \d+\.\d % of the prompt tokens are saved/)
  t.equal(svg.match(/<polyline/g)?.length, 3)
})

t.test('every policy runs every prompt to its end, with the prefixes that a checking runner expects', async t => {
  const prompts = batchPrompts({ numPrompts: 30, degree: { type: 'fixed', value: 5 }, prefixTokens: 18, distinctTokens: 3, outputTokens: 4, seed: 1 }, 1000)
  for (const policy of ['arrival', 'order', 'groups'] as const) {
    const runner = new FakeModelRunner({ maxSequences: 8, numKVBlocks: 40 })
    const { outputTokens, stepTokens, computedPromptTokens } = await runBatch({ policy, prompts, outputTokens: 4, runner, now: () => 0, onProgress: () => {} })
    t.equal(outputTokens, 30 * 4)
    t.equal(stepTokens.reduce((sum, tokens) => sum + tokens, 0), computedPromptTokens + 30 * 3, policy)
  }
})
