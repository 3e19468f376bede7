import t from 'tap'
import type { EngineOptions } from '@daybreak/engine'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { addSwapCommand } from '../../../apps/server/src/bench/swap/swap-command.ts'
import { FakeModelRunner } from '../../fakes/fake-model-runner.ts'
import { engineReport } from '../engine/engine-report.ts'

interface Ended { readonly exitCode: number | undefined, readonly stdout: string, readonly stderr: string, readonly opened: readonly EngineOptions[], readonly numDisposed: number }

/** The runner holds the command to the contract: a slot read too early, or a sequence that jumps, fails it. */
async function bench (args: readonly string[], numSlots = 40): Promise<Ended> {
  const runner = new FakeModelRunner({ maxModelLen: 400, numKVBlocks: 100, blockSize: 8, maxBatchedTokens: 64 }, undefined, { numSlots, groupSize: 4 })
  runner.tokenSeconds = 0.001
  runner.blockSeconds = 1 / 512
  let exitCode: number | undefined
  let numDisposed = 0
  const output = { stdout: '', stderr: '' }
  const opened: EngineOptions[] = []
  runner[Symbol.asyncDispose] = async () => { numDisposed++ }
  await runCommandLine(['bench', 'swap', ...args], {
    env: {},
    stdout: { write: text => { output.stdout += text } },
    stderr: { write: text => { output.stderr += text } },
    onSignal () {},
    exit: code => { exitCode = code }
  }, [(program, context) => {
    addSwapCommand(program.command('bench'), context, async options => {
      opened.push(options)
      const report = { ...engineReport, kvCacheBytes: 100 << 20, swapSpaceBytes: numSlots << 20 }
      return { engine: { runner, report }, copyBandwidth: undefined, profiler: { profile: async () => [], measurePassSeconds: async () => 0 } }
    })
  }])
  return { exitCode, ...output, opened, numDisposed }
}

const small = ['--synthetic', 'tiny', '--context', '100,200,330', '--repeats', '2']

t.test('the engine is opened with the swap space and room for the longest sequence', async t => {
  const { exitCode, opened, numDisposed, stderr } = await bench([...small, '--swap-space', '1.5GiB', '--adapter', 'H100', '--seed', '7'])
  t.equal(exitCode, undefined, stderr)
  t.match(opened, [{ model: { type: 'synthetic', shape: 'tiny', seed: 7 }, adapter: 'H100', swapSpaceBytes: 1.5 * 2 ** 30, maxSequences: 2, maxModelLen: 331 }])
  t.equal(numDisposed, 1)
})

t.test('every context is measured with neighbouring and with scattered blocks; what has no room on the host is skipped', async t => {
  const { stdout } = await bench([...small, '--json'])
  const report: { readonly measurements: ReadonlyArray<Readonly<Record<string, unknown>>> } = JSON.parse(stdout)
  t.match(report, {
    model: 'synthetic tiny',
    adapter: { name: 'Paper GPU' },
    swapSpaceBytes: 40 << 20,
    hostTier: { numSlots: 40, groupSize: 4 },
    settings: { context: [100, 200, 330], repeats: 2 }
  })
  t.same(report.measurements.map(({ context, arrangement, skipped }) => [context, arrangement, skipped]), [
    [100, 'neighbours', undefined], [100, 'scattered', undefined], [200, 'neighbours', undefined], [200, 'scattered', undefined],
    [330, 'neighbours', '42 blocks; host memory has room for 40'], [330, 'scattered', '42 blocks; host memory has room for 40']
  ])
  t.match(report.measurements[0], { bytes: 13 << 20, outSwapMs: 13_000 / 512, inSwapMs: 13_000 / 512, recomputeMs: Number, outMs: Number, inMs: Number, outDelayMs: Number, inDelayMs: Number })
})

t.test('the table says on what it was measured, and what was not', async t => {
  const { stdout } = await bench(small)
  t.match(stdout, /synthetic tiny, f16, 40 MiB of swap space\nPaper GPU/)
  t.match(stdout, /200 .*scattered .*25 MiB/)
  t.match(stdout, /330 .*skipped: 42 blocks/)
})

t.test('a swap space that is no size is refused', async t => {
  const { exitCode, stderr } = await bench(['--swap-space', 'much'])
  t.equal(exitCode, 2)
  t.match(stderr, /--swap-space.* 512MiB or 2GiB/)
})
