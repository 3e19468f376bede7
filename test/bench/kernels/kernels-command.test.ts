import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import type { KernelBenchPlan, KernelCeilings, KernelMeasurement } from '@daybreak/engine'
import { addKernelsCommand } from '../../../apps/server/src/bench/kernels/kernels-command.ts'
import { runCommandLine } from '../../../apps/server/src/cli/program.ts'
import { engineReport } from '../engine/engine-report.ts'
import { aMeasurement, ceilings } from './a-measurement.ts'

interface Ended {
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
  readonly opened: ReadonlyArray<string | undefined>
  readonly plans: readonly KernelBenchPlan[]
  readonly tuned: ReadonlyArray<readonly string[] | undefined>
  readonly numDisposed: number
}

interface Given { readonly software?: boolean, readonly kernels?: readonly KernelMeasurement[], readonly int8?: KernelCeilings['int8'], readonly error?: Error }

async function bench (args: readonly string[], { software = false, kernels = [aMeasurement()], int8, error }: Given = {}): Promise<Ended> {
  let exitCode: number | undefined
  let numDisposed = 0
  const output = { stdout: '', stderr: '' }
  const opened: Array<string | undefined> = []
  const plans: KernelBenchPlan[] = []
  const tuned: Array<readonly string[] | undefined> = []
  await runCommandLine(['bench', 'kernels', ...args], {
    env: {},
    stdout: { write: text => { output.stdout += text } },
    stderr: { write: text => { output.stderr += text }, isTTY: true },
    onSignal () {},
    exit: code => { exitCode = code }
  }, [(program, context) => {
    addKernelsCommand(program.command('bench'), context, async adapter => {
      opened.push(adapter)
      return {
        adapter: { ...engineReport.adapter, software },
        async run (plan) {
          plans.push(plan)
          plan.onProgress(1, 1, 'measuring')
          if (error !== undefined) throw error
          return { dtype: 'f16', activation: 'f16', ceilings: int8 === undefined ? ceilings : { ...ceilings, int8 }, notes: ['experts are left out'], kernels }
        },
        async tune ({ shapes, onProgress }) {
          tuned.push(shapes)
          onProgress(1, 1, 'measuring')
          if (error !== undefined) throw error
          return { adapter: 'Paper GPU', numProducts: 41, source: 'export {}\n' }
        },
        async [Symbol.asyncDispose] () { numDisposed++ }
      }
    })
  }])
  return { exitCode, ...output, opened, plans, tuned, numDisposed }
}

t.test('what flags leave open depends on the adapter', async t => {
  const gpu = await bench([])
  t.equal(gpu.exitCode, undefined, gpu.stderr)
  t.match(gpu.plans, [{
    shape: 'llama-3.2-1b',
    kinds: ['linear', 'attention', 'rowwise', 'sampling'],
    rows: [1, 4, 8, 16, 32, 64, 128, 512, 2048],
    contexts: [576, 2048],
    batches: [1, 32, 128],
    dtype: 'auto',
    deterministic: false
  }])
  t.match((await bench([], { software: true })).plans, [{ shape: 'daybreak-mini', rows: [1, 4, 16], contexts: [64], batches: [1, 4] }])
})

t.test('flags say what is measured, on whatever adapter', async t => {
  const args = ['--synthetic', 'tinyllama-1.1b', '--rows', '1,2', '--contexts', '100', '--batches', '7', '--only', 'attention,linear', '--dtype', 'f32', '--deterministic', '--adapter', 'H200']
  for (const software of [false, true]) {
    const { plans, opened, numDisposed } = await bench(args, { software })
    t.match(plans, [{ shape: 'tinyllama-1.1b', rows: [1, 2], contexts: [100], batches: [7], kinds: ['attention', 'linear'], dtype: 'f32', deterministic: true }])
    t.strictSame([opened, numDisposed], [['H200'], 1])
  }
})

t.test('how sequences begin alike is asked for by what they share, and how many of them', async t => {
  t.match((await bench([])).plans, [{ shared: undefined }])
  t.match((await bench(['--prefix', '2048'])).plans, [{ shared: { keys: 2048, degree: 16 } }])
  t.match((await bench(['--prefix', '100', '--degree', '4'])).plans, [{ shared: { keys: 100, degree: 4 } }])
  const { stdout } = await bench([], { kernels: [aMeasurement({ kind: 'attention', label: 'attention_group', rows: 64, context: 2248, shared: { keys: 2048, degree: 16, together: true } })] })
  t.match(stdout, /attention_group │ 64 +│ 2248 +│ +│ 2048 by 16, together/)
})

t.test('flags are checked before a device is opened', async t => {
  for (const args of [['--rows', '0'], ['--rows', '1,x'], ['--contexts', ''], ['--only', 'norms'], ['--dtype', 'q4'], ['--prefix', '0'], ['--degree', '1']]) {
    const { exitCode, opened } = await bench(args)
    t.strictSame([exitCode, opened.length], [2, 0], args.join(' '))
  }
})

const kernels = [
  aMeasurement({ rows: 1, flops: 40_000_000 }),
  aMeasurement({ label: 'head', rows: 1, bytes: 40_000_000, weight: { outputs: 128_256, inputs: 2048 } }),
  aMeasurement({ rows: 2048, flops: 1_500_000_000 }),
  aMeasurement({ label: 'head', rows: 2048, skipped: '1.1 GB of logits' }),
  aMeasurement({ kind: 'attention', label: 'attention_split', rows: 32, context: 576, weight: undefined }),
  aMeasurement({ kind: 'sampling', label: 'sample_choose', rows: 4, bytes: 0, flops: 0, weight: undefined })
]

t.test('the tables say what limits each kernel, and how far from it it is', async t => {
  const { stdout } = await bench([], { kernels })
  t.match(stdout, /llama-3\.2-1b, f16/)
  t.match(stdout, /copies 1000\.0 GB\/s, best product 100\.0 TFLOP\/s \(4096³, matmul_best\), dependent dispatch 2\.0 µs/)
  const rows = stdout.split('\n').map(line => line.split('│').map(cell => cell.trim()).filter(cell => cell !== ''))
  const find = (...start: readonly string[]): readonly string[] | undefined => rows.find(row => start.every((cell, i) => row[i] === cell))
  t.strictSame(find('qkv', '3072 × 2048', '1'), ['qkv', '3072 × 2048', '1', '20.0', '19.0', '22.0', '500.0', '50.0 %', '2.0', '2.0 %', 'bytes', '2.00', 'matmul_some'])
  t.strictSame(find('qkv', '3072 × 2048', '2048')?.slice(-3), ['flops', '1.33', 'matmul_some'])
  t.strictSame(find('attention_split', '32', '576')?.slice(-3), ['bytes', '2.00', 'matmul_some'])
  t.strictSame(find('sample_choose', '4'), ['sample_choose', '4', '20.0', '19.0', '22.0', 'dispatch', '10.00', 'matmul_some'])
  t.match(stdout, /skipped: 1\.1 GB of logits/)
  t.match(stdout, /Note: experts are left out\.\n$/)
  t.ok(stdout.indexOf('│ 2048 │') < stdout.indexOf('│ head'), 'sizes of one product stand together')
  t.notMatch(stdout, /Row by row/, 'a kind without measurements has no table')
})

t.test('what bytes could be multiplied at is told where the adapter has tensor cores for them', async t => {
  const int8 = { opsPerSecond: 5e14, kernel: 'matmul_bytes', size: 4096 }
  t.match((await bench([], { int8 })).stdout, /matmul_best\), int8 500\.0 TOP\/s \(4096³, matmul_bytes\), dependent dispatch/)
  t.match(JSON.parse((await bench(['--json'], { int8 })).stdout), { ceilings: { int8 } })
  t.notMatch((await bench([])).stdout, /int8/)
})

t.test('the JSON has the limits beside the measurements, and on what they were measured', async t => {
  const report: Record<string, unknown> = JSON.parse((await bench(['--json'], { kernels })).stdout)
  t.match(report, {
    adapter: { name: 'Paper GPU', driver: 'pencil 2.0' },
    settings: { shape: 'llama-3.2-1b', contexts: [576, 2048] },
    dtype: 'f16',
    ceilings,
    kernels: [{ label: 'qkv', rows: 1, limit: 'bytes', overFloor: Number, copyShare: Number }, {}, { limit: 'flops' }, { skipped: '1.1 GB of logits' }, {}, { limit: 'dispatch' }]
  })
})

t.test('a table for the repository is written to the file that was asked for, of every named shape or of one', async t => {
  const file = path.join(t.testdir({}), 'known', 'paper-gpu.ts')
  const all = await bench(['--save-known', file])
  t.strictSame([all.exitCode, all.tuned, all.plans, all.numDisposed], [undefined, [undefined], [], 1])
  t.equal(await readFile(file, 'utf8'), 'export {}\n')
  t.equal(all.stdout, `Paper GPU: 41 products in ${file}; packages/engine/src/tuning/known-adapters.ts lists such files\n`)
  t.strictSame((await bench(['--save-known', file, '--synthetic', 'llama-3.2-1b'])).tuned, [['llama-3.2-1b']])
  t.match(await bench(['--save-known', file], { error: new Error('device lost') }), { exitCode: 1, stdout: '', numDisposed: 1 })
})

t.test('progress is shown and taken away, and the device is given back when a measurement fails', async t => {
  const { exitCode, stderr, stdout, numDisposed } = await bench([], { error: new Error('device lost') })
  t.strictSame([exitCode, stdout, numDisposed], [1, '', 1])
  t.match(stderr, /1\/1 measuring[^]*device lost/)
})
