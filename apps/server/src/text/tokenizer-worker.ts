/** Runs in a worker thread: tokenises what is too long for the event loop. Started with the model's folder as `workerData`. */
import { workerData } from 'node:worker_threads'
import { z } from 'zod'
import { loadTokenizer, type EncodeOptions } from './tokenizer.ts'

export interface EncodeTask extends EncodeOptions { readonly text: string }

const { directory } = z.object({ directory: z.string() }).parse(workerData)
const loading = loadTokenizer(directory)

export default async function encodeText (task: EncodeTask): Promise<Uint32Array> {
  const tokenizer = await loading
  return Uint32Array.from(tokenizer.encode(task.text, task))
}
