import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { projectFiles, projectRoot } from './project-files.ts'

const files = projectFiles()
const isSource = (path: string) => /\.(ts|mjs|cjs|js|wgsl)$/.test(path)
const isText = (path: string) => /\.(ts|mjs|cjs|js|wgsl|json|ya?ml|md|sh|txt)$|(^|\/)(Dockerfile|\.taprc|run)$/.test(path)
const read = (path: string) => readFileSync(join(projectRoot, path), 'utf8')
const numLines = (text: string) => text.split('\n').length - (text.endsWith('\n') ? 1 : 0)

t.test('no source is longer than 400 lines without saying why in its first line', async t => {
  const tooLong = files.filter(isSource).filter(path => {
    const text = read(path)
    return numLines(text) > 400 && !/longer than 400 lines because \S+/i.test(text.slice(0, text.indexOf('\n')))
  })
  t.strictSame(tooLong, [])
})

t.test('no file or folder is a drawer', async t => {
  const drawer = /^(utils?|helpers?|common|misc|shared|core|base)(\.|$)/i
  t.strictSame(files.filter(path => path.split('/').some(part => drawer.test(part))), [])
})

t.test('files are named in kebab-case, shaders in snake_case', async t => {
  const wrong = files.filter(path => /^(apps|packages|test|deploy)\//.test(path)).filter(path => {
    const name = path.slice(path.lastIndexOf('/') + 1)
    if (name.endsWith('.wgsl')) return !/^[a-z0-9]+(_[a-z0-9]+)*\.wgsl$/.test(name)
    return /\.(ts|mjs)$/.test(name) && !/^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.d)?\.(ts|mjs)$/.test(name)
  })
  t.strictSame(wrong, [])
})

t.test('nothing names a path of somebody\'s machine, and the lockfile no registry', async t => {
  // Written in pieces, so that this file passes its own rule.
  const machinePath = new RegExp(`(?<![\\w.~)}])/(${['wo' + 'rk', 'ro' + 'ot', 'ho' + 'me'].join('|')})/|\\.\\./sha${'red'}\\b`)
  t.strictSame(files.filter(path => isText(path) && path !== 'pnpm-lock.yaml').filter(path => machinePath.test(read(path))), [])
  t.notMatch(read('pnpm-lock.yaml'), /https?:\/\//)
  t.notOk(files.includes('.npmrc'), 'a registry is the user\'s to choose')
})

t.test('every shader is loaded by a TypeScript file of its own name, or is a piece that one includes', async t => {
  const sources = files.filter(path => /^packages\/engine\/src\/.*\.ts$/.test(path))
  const stems = new Set(sources.map(path => path.slice(path.lastIndexOf('/') + 1, -'.ts'.length)))
  const text = sources.map(read).join('\n')
  const alone = files.filter(path => path.endsWith('.wgsl')).filter(path => {
    const stem = path.slice(path.lastIndexOf('/') + 1, -'.wgsl'.length)
    const hasTwin = stems.has(stem.replaceAll('_', '-'))
    return !path.startsWith('packages/engine/wgsl/') || !(hasTwin || text.includes(`readShader('${stem}')`))
  })
  t.strictSame(alone, [])
})

t.test('an operation has at most four shaders, unless a decision note names it', async t => {
  const notes = files.filter(path => /^docs\/decisions\/.*\.md$/.test(path)).map(read).join('\n')
  const byOperation = new Map<string, string[]>()
  for (const path of files.filter(path => path.endsWith('.wgsl'))) {
    const stem = path.slice(path.lastIndexOf('/') + 1, -'.wgsl'.length)
    const operation = stem.split('_', 1)[0] ?? stem
    byOperation.set(operation, [...byOperation.get(operation) ?? [], stem])
  }
  const crowded = [...byOperation].filter(([operation, stems]) => stems.length > 4 && !notes.includes(`\`${operation}_*.wgsl\``))
  t.strictSame(crowded, [])
})
