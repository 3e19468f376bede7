import t from 'tap'
import { z } from 'zod'
import { formatByteSize, parseByteSize } from '../../apps/server/src/cli/byte-size.ts'
import { addSettings, readSettings } from '../../apps/server/src/cli/settings.ts'
import type { SettingsSection } from '../../apps/server/src/cli/settings.ts'
import { engineSettings, httpSettings, listenSettings, logSettings, modelSettings, operationSettings } from '../../apps/server/src/config.ts'
import { runRecorded } from '../fakes/recorded-command.ts'
import type { RecordedCommand } from '../fakes/recorded-command.ts'

/** Parses a line for one section; what was read, or how the command ended. */
async function parsed (section: SettingsSection, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<{ readonly values: unknown, readonly command: RecordedCommand }> {
  let values: unknown
  const command = runRecorded(['try', ...args], [(program, context) => {
    const command = program.command('try')
    addSettings(command, section)
    command.action(() => { values = readSettings(section, command, context.env) })
  }], env)
  await command.done
  return { values, command }
}

t.test('a flag wins over the variable, and that over the default', async t => {
  t.match((await parsed(listenSettings, [])).values, { host: '127.0.0.1', port: 8000 })
  t.match((await parsed(listenSettings, [], { DAYBREAK_PORT: '9000', DAYBREAK_HOST: '::1' })).values, { host: '::1', port: 9000 })
  t.match((await parsed(listenSettings, ['--port', '9001'], { DAYBREAK_PORT: '9000' })).values, { port: 9001 })
  t.match((await parsed(listenSettings, ['--port=0'], { DAYBREAK_PORT: '' })).values, { port: 0 }, 'an empty variable says nothing')
})

t.test('every kind of setting can be given as a flag and as a variable', async t => {
  const { values } = await parsed(engineSettings, [])
  t.same(values, {
    dtype: 'auto',
    maxModelLen: undefined,
    maxNumSeqs: 64,
    maxNumBatchedTokens: undefined,
    blockSize: 16,
    kvCacheMemory: undefined,
    swapSpace: undefined,
    preemptionMode: 'auto',
    swapInStepBlocks: undefined,
    sharedAttention: undefined,
    backgroundStepTokens: undefined,
    backgroundRideTokens: 0,
    wholeLayers: true,
    prefixCaching: true,
    debugGpu: false,
    deterministic: false
  })
  t.match((await parsed(engineSettings, ['--max-model-len', '4096', '--kv-cache-memory', '1.5GiB', '--dtype', 'f16', '--no-prefix-caching', '--debug-gpu', '--deterministic', '--block-size', '32', '--adapter', '4090'])).values,
    { maxModelLen: 4096, kvCacheMemory: 1.5 * 2 ** 30, dtype: 'f16', prefixCaching: false, debugGpu: true, deterministic: true, blockSize: 32, adapter: '4090' })
  t.match((await parsed(engineSettings, [], { DAYBREAK_PREFIX_CACHING: 'off', DAYBREAK_DEBUG_GPU: '1', DAYBREAK_KV_CACHE_MEMORY: '1048576', DAYBREAK_MAX_MODEL_LEN: 'auto' })).values,
    { prefixCaching: false, debugGpu: true, kvCacheMemory: 1_048_576, maxModelLen: undefined })
  t.match((await parsed(engineSettings, ['--swap-space', '4GiB', '--preemption-mode', 'swap'])).values, { swapSpace: 2 ** 32, preemptionMode: 'swap' })
  t.match((await parsed(engineSettings, ['--swap-space', '0', '--swap-in-step-blocks', '256'])).values, { swapSpace: 0, swapInStepBlocks: 256 })
  t.match((await parsed(httpSettings, ['--served-model-name', 'a', '--served-model-name', 'b, c'])).values, { servedModelNames: ['a', 'b, c'] })
  t.match((await parsed(httpSettings, [], { DAYBREAK_SERVED_MODEL_NAME: 'a, b' })).values, { servedModelNames: ['a', 'b'] })
})

t.test('a bad value is one line with the flag or variable, the value and what is allowed, and exit code 2', async t => {
  const cases: ReadonlyArray<readonly [SettingsSection, readonly string[], Readonly<Record<string, string>>, RegExp]> = [
    [listenSettings, ['--port', '70000'], {}, /^daybreak: --port: "70000" .* an integer from 0 to 65535\n$/],
    [listenSettings, ['--port', 'http'], {}, /--port: "http" .* an integer/],
    [listenSettings, [], { DAYBREAK_PORT: '80.5' }, /^daybreak: DAYBREAK_PORT: "80.5" /],
    [engineSettings, ['--dtype', 'bf16'], {}, /--dtype: "bf16" .* one of auto, f16, f32\n$/],
    [engineSettings, ['--kv-cache-memory', '2 chairs'], {}, /--kv-cache-memory: "2 chairs" .* 512MiB or 2GiB, or auto\n$/],
    [engineSettings, ['--swap-space', 'some'], {}, /--swap-space: "some" .* 512MiB or 2GiB, 0, or auto\n$/],
    [engineSettings, ['--preemption-mode', 'drop'], {}, /--preemption-mode: "drop" .* one of auto, swap, recompute\n$/],
    [engineSettings, ['--max-model-len', '0'], {}, /--max-model-len: "0" .* from 1 on, or auto\n$/],
    [engineSettings, ['--block-size', '17'], {}, /--block-size: "17" .* 8, 16, 32 or 64\n$/],
    [engineSettings, [], { DAYBREAK_DEBUG_GPU: 'maybe' }, /DAYBREAK_DEBUG_GPU: "maybe" .* true or false\n$/],
    [logSettings, ['--log-level', 'loud'], {}, /--log-level: "loud" .* one of trace, /],
    [operationSettings, ['--drain-timeout-seconds', '-1'], {}, /--drain-timeout-seconds: "-1" .* a number from 0 to 86400/],
    [httpSettings, ['--served-model-name', ''], {}, /--served-model-name: "" /]
  ]
  for (const [section, args, env, message] of cases) {
    const { values, command } = await parsed(section, args, env)
    t.equal(command.exitCode, 2, args.join(' '))
    t.match(command.stderr, message)
    t.equal(command.stderr.split('\n').length, 2, 'one line')
    t.equal(values, undefined)
  }
})

t.test('an unknown flag suggests the nearest one, a missing value is named, and both exit with 2', async t => {
  const { command } = await parsed(listenSettings, ['--prot', '1'])
  t.equal(command.exitCode, 2)
  t.match(command.stderr, /^daybreak: unknown option '--prot'\n\(Did you mean --port\?\)/)
  t.match((await parsed(listenSettings, ['--port'])).command.stderr, /--port <number>.* argument missing/)
})

t.test('help names every setting with its default and its variable', async t => {
  for (const section of [listenSettings, modelSettings, engineSettings, operationSettings, httpSettings, logSettings]) {
    const { command } = await parsed(section, ['--help'])
    t.equal(command.exitCode, 0)
    const help = command.stdout.replaceAll(/\s+/g, ' ')
    t.match(help, `${section.title}:`)
    for (const [key, schema] of Object.entries(section.schema.shape)) {
      t.ok(schema instanceof z.ZodType && (schema.description ?? '').length > 10, `${key} is described`)
    }
    t.equal([...help.matchAll(/env: DAYBREAK_[A-Z_]+/g)].length, Object.keys(section.schema.shape).length)
  }
  const { command } = await parsed(engineSettings, ['--help'])
  const help = command.stdout.replaceAll(/\s+/g, ' ')
  t.match(help, '--max-num-seqs <n> Most sequences in one step (default: 64; env: DAYBREAK_MAX_NUM_SEQS)')
  t.match(help, '--no-prefix-caching')
  t.match(help, 'env: DAYBREAK_PREFIX_CACHING=false')
  t.match(help, '(default: auto; one of auto, f16, f32; env: DAYBREAK_DTYPE)')
})

t.test('no two settings share a flag or a variable', async t => {
  const names = [listenSettings, modelSettings, engineSettings, operationSettings, httpSettings, logSettings]
    .flatMap((section: SettingsSection) => Object.keys(section.schema.shape).map(key => section.flags?.[key] ?? key))
  t.equal(new Set(names).size, names.length)
})

t.test('sizes are read in binary and decimal units, and nothing else is', async t => {
  t.same(['0', '17', '2KiB', '2 kib', '1.5GiB', '1M', '1MB', '3TiB'].map(parseByteSize), [0, 17, 2048, 2048, 1.5 * 2 ** 30, 2 ** 20, 1e6, 3 * 2 ** 40])
  t.same(['', 'GiB', '-1', '1e3', '1 GiB more', '2XB', '99999999999TiB', 'constructor'].map(parseByteSize), Array.from({ length: 8 }, () => undefined))
  t.same([0, 1023, 1024, 1536, 26_759_728, 2 ** 50].map(formatByteSize), ['0 B', '1023 B', '1 KiB', '1.5 KiB', '25.5 MiB', '1024 TiB'])
})
