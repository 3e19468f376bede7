/**
 * The system's own package sources, read so that a private apt-get asks the same mirror with the same keys.
 *
 * Both formats of sources.list(5): one-line (`deb [signed-by=…] URI suite component…`) and deb822 stanzas.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {object} AptSource one deb822 stanza
 * @property {string[]} uris
 * @property {string[]} suites
 * @property {string[]} components
 * @property {string | undefined} signedBy a keyring's path, or a key block with its indentation
 * @property {string | undefined} trusted
 */

/**
 * @param {string} [aptFolder] `/etc/apt`, or another tree in tests
 * @returns {AptSource[]} binary package sources that are switched on
 */
export function readSystemSources (aptFolder = '/etc/apt') {
  const parts = listFolder(join(aptFolder, 'sources.list.d'))
  return [join(aptFolder, 'sources.list'), ...parts].flatMap(file => {
    const text = readText(file)
    if (file.endsWith('.sources')) return parseStanzas(text)
    return file.endsWith('.list') ? parseLines(text) : []
  })
}

/** @param {readonly AptSource[]} sources as one deb822 file */
export function formatSources (sources) {
  return sources.map(({ uris, suites, components, signedBy, trusted }) => [
    'Types: deb',
    `URIs: ${uris.join(' ')}`,
    `Suites: ${suites.join(' ')}`,
    `Components: ${components.join(' ')}`,
    ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`]),
    ...(trusted === undefined ? [] : [`Trusted: ${trusted}`])
  ].join('\n') + '\n').join('\n')
}

function parseLines (text) {
  return text.split('\n').flatMap(line => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line)
    if (match === null) return []
    const [, options = '', uri, suite, rest] = match
    const option = name => new RegExp(`(?:^|\\s)${name}=(\\S+)`).exec(options)?.[1]
    return [{ uris: [uri], suites: [suite], components: words(rest), signedBy: option('signed-by'), trusted: option('trusted') }]
  })
}

function parseStanzas (text) {
  return text.replace(/^#.*\n?/gm, '').split(/\n\s*\n/).flatMap(stanza => {
    // A field runs on over the following indented lines.
    const fields = new Map(Array.from(stanza.matchAll(/^([A-Za-z-]+):[ \t]*((?:.*)(?:\n[ \t]+.*)*)/gm), ([, name, value]) => [name.toLowerCase(), value.trimEnd()]))
    if (!words(fields.get('types')).includes('deb') || fields.get('enabled') === 'no') return []
    return [{
      uris: words(fields.get('uris')),
      suites: words(fields.get('suites')),
      components: words(fields.get('components')),
      signedBy: fields.get('signed-by'),
      trusted: fields.get('trusted')
    }]
  })
}

function words (text = '') {
  return text.split(/\s+/).filter(word => word !== '')
}

function listFolder (folder) {
  try {
    return readdirSync(folder).sort().map(name => join(folder, name))
  } catch {
    return []
  }
}

function readText (file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
