/**
 * Checks a tokenizer folder against vectors in llama.cpp's format and, if a text is named, a round trip of that text. Not a test: it
 * needs data that the repository does not have.
 *
 *   node --conditions=@daybreak/source --import=tsx test/text/check-vectors.ts FOLDER VECTORS.inp [TEXT]
 *
 * VECTORS.inp holds texts between lines of `__ggml_vocab_test__`, VECTORS.out the token ids of each on a line, without BOS.
 */
import { readFile } from 'node:fs/promises'
import { openTextService } from '../../apps/server/src/text/index.ts'

const SEPARATOR = '\n__ggml_vocab_test__\n'
const plain = { addSpecialTokens: false }

const [folder = '', vectors = '', textFile] = process.argv.slice(2)
const service = await openTextService(folder)
const texts = (await readFile(vectors, 'utf8')).split(SEPARATOR)
const expected = (await readFile(vectors.replace(/\.inp$/, '.out'), 'utf8')).replace(/\n$/, '').split('\n')
let numWrong = 0
for (const [i, line] of expected.entries()) {
  const ids = await service.encode(texts[i] ?? '', plain)
  if (ids.join(' ') === line.trim()) continue
  numWrong++
  console.log(`${JSON.stringify(texts[i])}\n  expected ${line.trim()}\n  found    ${ids.join(' ')}`)
}
console.log(`${folder}: ${expected.length - numWrong} of ${expected.length} vectors`)

if (textFile !== undefined) {
  const text = await readFile(textFile, 'utf8')
  const begin = performance.now()
  const ids = await service.encode(text, plain)
  const seconds = (performance.now() - begin) / 1000
  const isSame = service.decode(ids, { skipSpecialTokens: false }) === text
  console.log(`${text.length} characters, ${ids.length} tokens, ${seconds.toFixed(2)} s with the worker's start: ${isSame ? 'round trip exact' : 'ROUND TRIP DIFFERS'}`)
  if (!isSame) process.exitCode = 1
}
if (numWrong > 0) process.exitCode = 1
await service.close()
