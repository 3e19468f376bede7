/**
 * Node's hooks for a process of a test run: a source of ours that has a bundle is loaded from there.
 */
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { projectRoot } from './cache-folder.mjs'

const root = pathToFileURL(projectRoot).href.replace(/\/?$/, '/')
let bundles

/** @param {string} folder URL of the bundles */
export function initialize (folder) {
  bundles = folder
}

export async function resolve (specifier, context, nextResolve) {
  const found = await nextResolve(specifier, context)
  if (!found.url.startsWith(root) || !found.url.endsWith('.ts')) return found
  const url = new URL(`${found.url.slice(root.length, -'.ts'.length)}.mjs`, bundles)
  return existsSync(url) ? { ...found, url: url.href, format: 'module' } : found
}
