import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatSources, readSystemSources } from '../../deploy/setup/apt-sources.mjs'
import { findMesaSource, installationAdvice, readOsRelease } from '../../deploy/setup/mesa-source.mjs'

const oneLine = `# a comment
deb http://mirror.example/debian bookworm main contrib # trailing words
deb [arch=amd64 signed-by=/usr/share/keyrings/a.gpg trusted=yes] https://mirror.example/debian bookworm-backports main
deb-src http://mirror.example/debian bookworm main
`
const stanzas = `Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
`

function aptFolder (dir: string): string {
  mkdirSync(join(dir, 'sources.list.d'))
  writeFileSync(join(dir, 'sources.list'), oneLine)
  writeFileSync(join(dir, 'sources.list.d', 'debian.sources'), stanzas)
  writeFileSync(join(dir, 'sources.list.d', 'readme.txt'), oneLine)
  return dir
}

t.test('both formats of sources are read, without source packages and what is switched off', async t => {
  const sources = readSystemSources(aptFolder(t.testdir()))
  t.strictSame(sources.map(source => source.suites), [['bookworm'], ['bookworm-backports'], ['bookworm', 'bookworm-updates']])
  t.strictSame(sources[0]?.components, ['main', 'contrib'])
  t.equal(sources[1]?.signedBy, '/usr/share/keyrings/a.gpg')
  t.equal(sources[1]?.trusted, 'yes')
  t.strictSame(sources[2]?.uris, ['http://mirror.example/debian', 'http://second.example/debian'])
  t.match(sources[2]?.signedBy, /BEGIN PGP[^]*\n \.\n abc\n[^]*END PGP/)
})

t.test('sources written out read back the same', async t => {
  const sources = readSystemSources(aptFolder(t.testdir()))
  const dir = t.testdir({ again: { 'sources.list.d': {} } })
  writeFileSync(join(dir, 'again', 'sources.list.d', 'x.sources'), formatSources(sources))
  t.strictSame(readSystemSources(join(dir, 'again')), sources)
})

t.test('a system without apt has no sources', async t => {
  t.strictSame(readSystemSources(join(t.testdir(), 'absent')), [])
})

const bookworm = { ID: 'debian', VERSION_ID: '12', VERSION_CODENAME: 'bookworm' }

t.test('Debian 12 takes Mesa from the backports of its own mirror', async t => {
  const found = findMesaSource(bookworm, readSystemSources(aptFolder(t.testdir())))
  t.equal(found?.targetRelease, 'bookworm-backports')
  t.equal(found?.id, `debian-12-${process.arch}`)
  t.strictSame(found?.sources.map(source => [source.uris, source.suites]), [[['http://mirror.example/debian'], ['bookworm', 'bookworm-backports']]])
})

t.test('another release takes its own suites, and nobody else\'s', async t => {
  const source = { uris: ['http://mirror.example/ubuntu'], suites: ['noble', 'noble-updates', 'noble-proposed'], components: ['main'], signedBy: undefined, trusted: undefined }
  const foreign = { ...source, uris: ['http://elsewhere.example/apt'], suites: ['stable'] }
  const found = findMesaSource({ ID: 'ubuntu', VERSION_ID: '24.04', VERSION_CODENAME: 'noble' }, [foreign, source])
  t.equal(found?.targetRelease, undefined)
  t.strictSame(found?.sources.map(({ uris, suites }) => [uris, suites]), [[['http://mirror.example/ubuntu'], ['noble', 'noble-updates']]])
})

t.test('without a mirror of the release there is nothing to fetch from, and the advice names the command', async t => {
  t.equal(findMesaSource(bookworm, []), undefined)
  t.equal(findMesaSource({ ID: 'fedora', VERSION_ID: '43' }, []), undefined)
  t.match(installationAdvice(bookworm), /bookworm-backports mesa-vulkan-drivers/)
  t.match(installationAdvice({ ID: 'linuxmint', ID_LIKE: 'ubuntu debian' }), /apt-get install mesa-vulkan-drivers libvulkan1/)
  t.match(installationAdvice({ ID: 'fedora' }), /dnf install/)
  t.match(installationAdvice({ ID: 'alpine' }), /glibc/)
  t.match(installationAdvice({}), /your system's packages/)
})

t.test('os-release is read with and without quotes', async t => {
  const dir = t.testdir({ 'os-release': 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n' })
  t.strictSame(readOsRelease(join(dir, 'os-release')), { ID: 'debian', VERSION_ID: '12', PRETTY_NAME: 'Debian GNU/Linux 12 (bookworm)' })
  t.strictSame(readOsRelease(join(dir, 'absent')), {})
})
