/** Runs in a worker thread: tokenises what is too long for the event loop. Started with the model's folder as `workerData`. */
import { workerData } from 'node:worker_threads'
import { z } from 'zod'
import { loadTokenizer, type EncodeOptions } from './tokenizer.ts'

export interface EncodeTask extends EncodeOptions { readonly text: string }

const { directory } = z.object({ directory: z.string() }).parse(workerData)
const loading = loadTokenizer(directory)

/** The ids of all texts, one after another. */
export default async function encodeTexts (tasks: readonly EncodeTask[]): Promise<Uint32Array> {
  const tokenizer = await loading
  return Uint32Array.from(tasks.flatMap(task => tokenizer.encode(task.text, task)))
}
