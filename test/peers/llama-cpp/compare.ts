/**
 * Daybreak and llama.cpp on the same GGUF file: greedy tokens of eight prompts, and the perplexity of a passage. Not part of the
 * suite, which neither downloads a model nor installs llama.cpp. See README.md.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { EngineOptions } from '@daybreak/engine'
import { loadFindings, saveFindings } from './findings.ts'
import type { Findings, Half } from './findings.ts'
import { measureDaybreak } from './measure-daybreak.ts'
import { measureLlamaCpp } from './measure-llama-cpp.ts'
import { compareFindings } from './report.ts'
import { prepareSubject } from './subject.ts'

const { values: flags } = parseArgs({
  options: {
    text: { type: 'string' },
    model: { type: 'string', default: 'tinyllama-chat' },
    only: { type: 'string' },
    kept: { type: 'boolean', default: false },
    results: { type: 'string', default: join(import.meta.dirname, '.cache') },
    threads: { type: 'string', default: '1' },
    dtype: { type: 'string', default: 'f32' },
    adapter: { type: 'string' }
  }
})
const { text, model, only, kept, results, adapter } = flags
if (text === undefined) throw new Error('--text FILE: whose first 2 KB are scored')
if (only !== undefined && !isHalf(only)) throw new Error(`--only ${only}: it takes ours and llama`)
const threads = Number(flags.threads)
if (!(Number.isInteger(threads) && threads > 0)) throw new Error(`--threads ${flags.threads}: it takes a whole number from 1 on`)
const dtype = dtypeOf(flags.dtype)
const onProgress = (message: string): void => { console.error(message) }

await mkdir(results, { recursive: true })
const { subject, texts } = await prepareSubject(model, text, process.env)
try {
  const llama = await half('llama', () => measureLlamaCpp(subject, { threads, folder: results, onProgress }))
  const ours = await half('ours', () => measureDaybreak(subject, { dtype, adapter, onProgress }))
  if (ours === undefined || llama === undefined) {
    const missing = [...llama === undefined ? ['llama'] : [], ...ours === undefined ? ['ours'] : []]
    console.log(`kept in ${results}; yet to be measured: ${missing.join(', ')}`)
  } else {
    const report = compareFindings(subject, ours, llama, tokens => texts.decode(tokens, { skipSpecialTokens: false, continuation: true }))
    console.log(report.text)
    if (report.failures.length > 0) process.exitCode = 1
  }
} finally {
  await texts.close()
}

/** Measures and keeps a half; one that `--only` or `--kept` leaves out is the one kept before. */
async function half (name: Half, measure: () => Promise<Findings>): Promise<Findings | undefined> {
  if (kept || (only !== undefined && only !== name)) return await loadFindings(results, name, subject.fingerprint)
  const findings = await measure()
  await saveFindings(results, name, findings)
  return findings
}

function isHalf (name: string): name is Half {
  return name === 'ours' || name === 'llama'
}

function dtypeOf (name: string): EngineOptions['dtype'] {
  if (name === 'auto' || name === 'f16' || name === 'f32') return name
  throw new Error(`--dtype ${name}: it takes auto, f16 and f32`)
}
