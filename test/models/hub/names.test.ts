import { homedir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { chooseGguf, ggufModels } from '../../../apps/server/src/models/hub/gguf-files.ts'
import { formatHubReference, parseHubReference, readHubSettings } from '../../../apps/server/src/models/hub/index.ts'
import { temporaryFolder } from '../temporary-folder.ts'

t.test('owner/name may carry a revision, a file, or both in either order', async t => {
  const repo = 'meta-llama/Llama-3.2-1B'
  t.same(parseHubReference(repo), { repo, revision: 'main', file: undefined })
  t.same(parseHubReference(`${repo}@refs/pr/12`), { repo, revision: 'refs/pr/12', file: undefined })
  t.same(parseHubReference(`${repo}:Q4_K_M`), { repo, revision: 'main', file: 'Q4_K_M' })
  t.same(parseHubReference(`${repo}:a/b.gguf@v1.0`), { repo, revision: 'v1.0', file: 'a/b.gguf' })
  t.same(parseHubReference(`${repo}@v1.0:a/b.gguf`), { repo, revision: 'v1.0', file: 'a/b.gguf' })
  t.equal(formatHubReference({ repo, revision: 'v1.0', file: 'x' }), `${repo}:x@v1.0`)
  t.equal(formatHubReference({ repo, revision: 'main', file: undefined }), repo)
})

t.test('what is a path, or no name of the Hub, is none', async t => {
  for (const text of ['', 'name', './a/b', '../a/b', '/a/b', 'a/b/c', 'a/', '/b', 'a\\b', 'C:/b', 'a/b@', 'a/b:', 'a/b@x@y', 'a/b:x:y', 'a/b@../x', 'a/b@x/../y', 'a/..', '~/b', 'a--b/c', 'a/b.git', 'a b/c', `a/${'b'.repeat(97)}`]) {
    t.equal(parseHubReference(text), undefined, text)
  }
})

t.test('a quantisation is a whole word at the end of a name', async t => {
  const models = ggufModels(['x-Q4_K_M.gguf', 'x-Q4_K.gguf', 'x-UD-Q4_K_XL.gguf', 'x-UD-Q4_K_M.gguf', 'Q8_0/x-Q8_0-00002-of-00002.gguf', 'Q8_0/x-Q8_0-00001-of-00002.gguf', 'x.imatrix.gguf', 'mmproj-x-F16.gguf', 'x.bin'])
  const stem = (wanted?: string): string | undefined => chooseGguf(models, wanted)?.stem
  t.equal(stem('q4_k'), 'x-Q4_K')
  t.equal(stem('Q4_K_M'), 'x-Q4_K_M', 'the plainest of two')
  t.equal(stem('UD-Q4_K_M'), 'x-UD-Q4_K_M')
  t.equal(stem('Q4_K_XL'), 'x-UD-Q4_K_XL')
  t.same(chooseGguf(models, 'Q8_0')?.parts, ['Q8_0/x-Q8_0-00001-of-00002.gguf', 'Q8_0/x-Q8_0-00002-of-00002.gguf'])
  t.equal(stem('x-Q8_0-00002-of-00002.gguf'), 'Q8_0/x-Q8_0', 'a part stands for the whole')
  t.equal(stem('4_K_M'), undefined)
  t.equal(stem('F16'), undefined, 'a projector is no model')
  t.equal(stem('.*'), undefined)
  t.equal(stem(), 'x-Q4_K_M')
  t.equal(chooseGguf(ggufModels(['only-Q2_K.gguf']), undefined)?.stem, 'only-Q2_K')
  t.equal(chooseGguf(ggufModels(['a-Q2_K.gguf', 'a-Q8_0.gguf']), undefined), undefined)
})

t.test('a token that was pasted with line breaks is the one that was meant', async t => {
  t.equal((await readHubSettings({ HF_HOME: '/nowhere', HF_TOKEN: 'hf_a\r\nb\n' })).token, 'hf_ab')
  t.equal((await readHubSettings({ HF_HOME: '/nowhere', HF_TOKEN: ' \n' })).token, undefined)
})

t.test('the cache, the Hub and the token are where huggingface_hub looks for them', async t => {
  const home = await temporaryFolder(t)
  t.match(await readHubSettings({ XDG_CACHE_HOME: home }), { endpoint: 'https://huggingface.co', cacheFolder: join(home, 'huggingface', 'hub'), isOffline: false, token: undefined })
  t.match(await readHubSettings({ HF_HOME: '~/hf', HF_TOKEN: ' t ' }), { cacheFolder: join(homedir(), 'hf', 'hub'), token: 't' })
  t.match(await readHubSettings({ HF_HOME: home, HF_HUB_CACHE: join(home, 'elsewhere'), HF_ENDPOINT: 'https://mirror.example/' }), { cacheFolder: join(home, 'elsewhere'), endpoint: 'https://mirror.example' })
  for (const [value, isOffline] of [['1', true], ['ON', true], ['yes', true], ['True', true], ['0', false], ['', false]] as const) t.equal((await readHubSettings({ HF_HOME: home, HF_HUB_OFFLINE: value })).isOffline, isOffline, value)
})
