/**
 * npm packages with everything they depend on, flat, as files: for code that cannot be bundled.
 */
import { cpSync, existsSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative, sep } from 'node:path'

/** Of a package, what running it on another machine of this kind does not need. */
const unneeded = [/\.(map|[cm]?ts|md)$/, /(^|\/)(docs|benchmark|test|test-jest|examples)(\/|$)/]
/** Of Dawn besides, what other systems run, and what only its own build needs. */
const unneededOfDawn = [/^build(\/|$)/, new RegExp(`^dist/(?!${process.platform}-${process.arch}(/|$))`)]

/**
 * @param {string} root the checkout
 * @param {readonly string[]} names packages that the server or the engine depends on
 * @param {string} target becomes a node_modules folder
 */
export function copyPackages (root, names, target) {
  const copied = new Map()
  const owners = ['apps/server', 'packages/engine'].map(folder => join(root, folder))
  for (const name of names) {
    const owner = owners.find(folder => existsSync(join(folder, 'node_modules', name)))
    if (owner === undefined) throw new Error(`neither the server nor the engine depends on ${name}`)
    copyPackage(name, owner)
  }

  function copyPackage (name, dependant) {
    const folder = findPackage(name, dependant)
    const { version, dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    if (copied.has(name)) {
      if (copied.get(name) !== version) throw new Error(`two versions of ${name} are needed: ${copied.get(name)} and ${version}`)
      return
    }
    copied.set(name, version)
    const isTypesOnly = name.startsWith('@types/') || name === '@webgpu/types'
    if (isTypesOnly) return
    const left = name === 'webgpu' ? [...unneeded, ...unneededOfDawn] : unneeded
    cpSync(folder, join(target, name), {
      recursive: true,
      filter: file => {
        const path = relative(folder, file).split(sep).join('/')
        return !path.startsWith('node_modules') && !left.some(pattern => pattern.test(path))
      }
    })
    for (const dependency of Object.keys(dependencies)) copyPackage(dependency, folder)
  }
}

/** The folder of a package as `dependant` would find it; exports maps often hide package.json, so it is looked for. */
function findPackage (name, dependant) {
  const places = createRequire(join(realpathSync(dependant), 'package.json')).resolve.paths(name) ?? []
  const place = places.find(folder => existsSync(join(folder, name, 'package.json')))
  if (place === undefined) throw new Error(`${name} is not installed below ${dependant}`)
  return realpathSync(join(place, name))
}
