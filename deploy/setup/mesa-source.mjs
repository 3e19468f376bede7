/**
 * Which suite of this system holds a Mesa that Dawn accepts, and what to tell people where none does.
 */
import { readFileSync } from 'node:fs'
import { readSystemSources } from './apt-sources.mjs'

/**
 * @typedef {object} MesaSource
 * @property {string} id names the private folder, e.g. `debian-12-x64`
 * @property {import('./apt-sources.mjs').AptSource[]} sources
 * @property {string | undefined} targetRelease the suite to prefer over the others
 */

/**
 * @returns {MesaSource | undefined} `undefined` where packages cannot be fetched this way
 */
export function findMesaSource (release = readOsRelease(), systemSources = readSystemSources()) {
  const { ID: distribution, VERSION_ID: version = 'rolling', VERSION_CODENAME, UBUNTU_CODENAME } = release
  const codename = UBUNTU_CODENAME ?? VERSION_CODENAME
  if (codename === undefined) return undefined
  const id = `${distribution}-${version}-${process.arch}`

  if (codename === 'bookworm') {
    // Debian 12's own Mesa 22.3 is too old for Dawn (no shaderUniform*ArrayDynamicIndexing); its backports have 25.
    const backports = 'bookworm-backports'
    const base = systemSources.filter(source => source.suites.includes(codename) && source.components.includes('main'))
    const sources = base.map(source => ({ ...source, suites: [codename, backports], components: ['main'] })).slice(0, 1)
    return sources.length === 0 ? undefined : { id, sources, targetRelease: backports }
  }

  const suites = [codename, `${codename}-updates`, `${codename}-security`]
  const sources = systemSources.flatMap(source => {
    const wanted = source.suites.filter(suite => suites.includes(suite))
    return wanted.length === 0 ? [] : [{ ...source, suites: wanted }]
  })
  return sources.length === 0 ? undefined : { id, sources, targetRelease: undefined }
}

/** The command that installs a Vulkan adapter on this system, for people to run. */
export function installationAdvice (release = readOsRelease()) {
  const family = [release.ID, ...(release.ID_LIKE ?? '').split(' ')]
  const commands = [
    ['alpine', 'Alpine: Dawn is built for glibc and does not load on musl; use a Debian or Ubuntu image instead'],
    ['fedora', 'dnf install mesa-vulkan-drivers vulkan-loader'],
    ['rhel', 'dnf install mesa-vulkan-drivers vulkan-loader'],
    ['arch', 'pacman -S vulkan-swrast vulkan-icd-loader'],
    ['suse', 'zypper install libvulkan_lvp libvulkan1'],
    ['ubuntu', 'apt-get install mesa-vulkan-drivers libvulkan1'],
    ['debian', release.VERSION_CODENAME === 'bookworm'
      ? 'apt-get install -t bookworm-backports mesa-vulkan-drivers libvulkan1   (after adding the bookworm-backports suite)'
      : 'apt-get install mesa-vulkan-drivers libvulkan1']
  ]
  const command = commands.find(([name]) => family.includes(name))?.[1] ?? 'your system\'s packages of Mesa\'s Vulkan drivers (24 or newer) and the Vulkan loader'
  return [
    'daybreak: found no Vulkan adapter that Dawn can use. Either of these provides one:',
    '  - a GPU: install its vendor\'s driver with Vulkan support, and check that `vulkaninfo --summary` lists it',
    `  - the CPU: ${command}`
  ].join('\n')
}

/** @returns {Record<string, string>} the fields of os-release(5); empty where there is none */
export function readOsRelease (file = '/etc/os-release') {
  let text
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return {}
  }
  return Object.fromEntries(Array.from(text.matchAll(/^([A-Z_]+)=(?:"([^"\n]*)"|(.*))$/gm), ([, name, quoted, plain]) => [name, quoted ?? plain]))
}
