import t from 'tap'
import type { EngineOptions } from '@daybreak/engine'
import { addEngineCommand } from '../../../apps/server/src/bench/engine/engine-command.ts'
import type { StepProfiler } from '../../../apps/server/src/bench/engine/profile-steps.ts'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { CheckingRunner, LIMITS } from './checking-runner.ts'
import { engineReport } from './engine-report.ts'

interface Ended { readonly exitCode: number | undefined, readonly stdout: string, readonly stderr: string, readonly opened: readonly EngineOptions[], readonly numDisposed: number }

/** 40 µs of one kernel and 12 µs in two dispatches of another, of which a pass takes 5. */
const profiler: StepProfiler = {
  profile: async () => [{ label: 'matmul', dispatches: 1, seconds: 40e-6 }, { label: 'norm', dispatches: 2, seconds: 12e-6 }],
  measurePassSeconds: async () => 5e-6
}

async function bench (args: readonly string[], runner = new CheckingRunner()): Promise<Ended> {
  let exitCode: number | undefined
  let numDisposed = 0
  const output = { stdout: '', stderr: '' }
  const opened: EngineOptions[] = []
  runner[Symbol.asyncDispose] = async () => { numDisposed++ }
  await runCommandLine(['bench', 'engine', ...args], {
    env: {},
    stdout: { write: text => { output.stdout += text } },
    stderr: { write: text => { output.stderr += text } },
    onSignal () {},
    exit: code => { exitCode = code }
  }, [(program, context) => {
    addEngineCommand(program.command('bench'), context, async options => {
      opened.push(options)
      return { engine: { runner, report: engineReport }, copyBandwidth: 1e12, profiler }
    })
  }])
  return { exitCode, ...output, opened, numDisposed }
}

const small = ['--synthetic', 'tiny', '--batch', '1,4', '--context', '32', '--prompt', '100', '--decode-tokens', '4']

t.test('the engine is opened with room for the largest measurement', async t => {
  const { exitCode, opened, numDisposed, stderr } = await bench([...small, '--dtype', 'f32', '--adapter', 'H200', '--seed', '7'])
  t.equal(exitCode, undefined, stderr)
  t.match(opened, [{ model: { type: 'synthetic', shape: 'tiny', seed: 7 }, dtype: 'f32', adapter: 'H200', maxSequences: 4, maxModelLen: 101, maxBatchedTokens: 2048, blockSize: 16 }])
  t.equal(numDisposed, 1)
})

t.test('the JSON says on what the numbers were measured', async t => {
  const { stdout } = await bench([...small, '--json', '--copy-bandwidth', '2'])
  const report: Record<string, unknown> = JSON.parse(stdout)
  t.match(report, {
    model: 'synthetic tiny',
    dtype: 'f16',
    parameters: 10_000_000,
    weightBytes: 20_000_000,
    adapter: { name: 'Paper GPU', driver: 'pencil 2.0', backend: 'vulkan', software: true },
    copyBandwidth: 2e9,
    limits: LIMITS,
    settings: { batch: [1, 4], context: [32], prompt: [100], decodeTokens: 4 },
    prefill: [{ promptTokens: 100, tokensPerSecond: Number }],
    decode: [{ batch: 1, tokensPerSecond: Number, copyBandwidthShare: Number }, { batch: 4 }]
  })
})

t.test('the table says it as well, and why a row is missing', async t => {
  const { stdout } = await bench([...small, '--prompt', '100,300'])
  t.match(stdout, /synthetic tiny, f16, 10\.0 M parameters, 0\.020 GB of weights/)
  t.match(stdout, /Paper GPU \(vulkan, pencil 2\.0, software\), copies 1000\.0 GB\/s/)
  t.match(stdout, /300\s+│ skipped: 301 tokens; the model's context is 256/)
})

t.test('--profile adds a table of each step measured, and what a pass of its own costs a dispatch', async t => {
  const { stdout } = await bench([...small, '--profile'])
  t.match(stdout, /Kernels of a prefill of 100, 2 steps\n/)
  t.match(stdout, /Kernels of a decode step, 1 at 32\n[^]*Kernels of a decode step, 4 at 32\n/)
  t.match(stdout, /matmul +│ +1 │ +35\.0 │ +35\.0 │ +94\.6 %/)
  t.match(stdout, /norm +│ +2 │ +1\.0 │ +2\.0 │ +5\.4 %/)
  t.match(stdout, /passes, taken off +│ +3 │ +5\.0 │ +15\.0 │/)
  t.match(stdout, /takes 5\.0 µs by itself/)
  t.notMatch((await bench(small)).stdout, /Kernels of/)
})

t.test('the JSON has the profile too', async t => {
  const { stdout } = await bench([...small, '--json', '--profile', '2'])
  t.match(JSON.parse(stdout), {
    settings: { profile: 2 },
    profile: {
      passSeconds: 5e-6,
      steps: [{ type: 'prefill', batch: 1, context: 100, numSteps: 2 }, { type: 'decode', batch: 1, context: 32, wholeSeconds: 0.01 }, { type: 'decode', batch: 4, context: 32, dispatches: 3 }]
    }
  })
})

t.test('the engine is disposed of when a measurement fails', async t => {
  const runner = new CheckingRunner()
  runner.failsAt = 3
  const { exitCode, stderr, numDisposed } = await bench(small, runner)
  t.strictSame([exitCode, numDisposed], [1, 1])
  t.match(stderr, /device lost/)
})

t.test('a model is either named or synthetic, and flags are checked before it is opened', async t => {
  for (const args of [['--synthetic', 'tiny', '--model', 'dir'], ['--batch', '0'], ['--batch', '1,x'], ['--decode-tokens', '0'], ['--dtype', 'q4'], ['--profile', '0']]) {
    const { exitCode, opened } = await bench(args)
    t.strictSame([exitCode, opened.length], [2, 0], args.join(' '))
  }
})
