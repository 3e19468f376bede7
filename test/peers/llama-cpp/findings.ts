import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A token and its log-probability under the model's raw logits. */
export type Candidate = readonly [token: number, logprob: number]

/** A greedy continuation: for each token the two most likely candidates, of which it is the first. */
export type Continuation = ReadonlyArray<readonly [first: Candidate, second: Candidate]>

/** A scored token of the passage, and the most likely one in its place. */
export interface PassageScore { readonly logprob: number, readonly best: number }

/** What an engine makes of the subject, computing in one way. */
export interface Finding {
  /** For people: what is computed with. */
  readonly name: string
  /** One for each prompt, in order. */
  readonly continuations: readonly Continuation[]
  /** One for each token of the passage but the first. */
  readonly passage: readonly PassageScore[]
}

/** One half of the comparison. */
export interface Findings {
  /** Name and version. */
  readonly engine: string
  /** Of the subject that was measured. */
  readonly fingerprint: string
  /** Texts that the engine tokenises otherwise than Daybreak: none. */
  readonly tokenizedOtherwise: readonly string[]
  readonly findings: readonly Finding[]
}

export type Half = 'ours' | 'llama'

/** Keeps a half in a folder, as JSON, where `loadFindings` finds it. */
export async function saveFindings (folder: string, half: Half, findings: Findings): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, `${half}.json`), JSON.stringify(findings))
}

/** A half that was kept earlier; undefined where there is none of this subject. */
export async function loadFindings (folder: string, half: Half, fingerprint: string): Promise<Findings | undefined> {
  const text = await readFile(join(folder, `${half}.json`), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const findings: Findings = JSON.parse(text)
  return findings.fingerprint === fingerprint ? findings : undefined
}
