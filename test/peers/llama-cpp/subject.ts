import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createDownloadDisplay } from '../../../apps/server/src/cli/download-progress.ts'
import { resolveModel, textFolder } from '../../../apps/server/src/models/index.ts'
import { openTextService } from '../../../apps/server/src/text/index.ts'
import type { TextService } from '../../../apps/server/src/text/index.ts'
import { PROMPTS } from './prompts.ts'

/** A text and its token ids by Daybreak's tokenizer, `<s>` first. Both engines compute these ids. */
export interface TokenizedText { readonly text: string, readonly tokens: readonly number[] }

/** What both engines are asked. */
export interface Subject {
  readonly model: string
  /** The GGUF file. */
  readonly path: string
  readonly prompts: readonly TokenizedText[]
  /** What perplexities are of. */
  readonly passage: TokenizedText
  /** Of the file's size and every token: results of two halves belong together where it is the same. */
  readonly fingerprint: string
}

/** Of the text file; a character that is cut in two is left out. */
const PASSAGE_BYTES = 2048

/** Finds or downloads the model through Daybreak, and tokenises everything. The caller closes the text service. */
export async function prepareSubject (model: string, textFile: string, env: NodeJS.ProcessEnv): Promise<{ readonly subject: Subject, readonly texts: TextService }> {
  const { id, source } = await resolveModel(model, { env, progress: createDownloadDisplay(process.stderr) })
  if (source.type !== 'gguf') throw new Error(`${id} is no GGUF file, which is all that llama.cpp reads`)
  const texts = await openTextService(await textFolder(source, env))
  const tokenize = async (text: string): Promise<TokenizedText> => ({ text, tokens: await texts.encode(text, { addSpecialTokens: true }) })
  const prompts = await Promise.all(PROMPTS.map(tokenize))
  const passage = await tokenize(new TextDecoder().decode((await readFile(textFile)).subarray(0, PASSAGE_BYTES), { stream: true }))
  const { size } = await stat(source.path)
  const fingerprint = createHash('sha256').update(JSON.stringify([size, prompts.map(({ tokens }) => tokens), passage.tokens])).digest('hex')
  return { subject: { model: id, path: source.path, prompts, passage, fingerprint }, texts }
}
