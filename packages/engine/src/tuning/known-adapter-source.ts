import type { KnownAdapter } from './known-adapter.ts'

/** The module in `known/` that holds an adapter's table. */
export function knownAdapterSource ({ adapter, driver, kernels, products }: KnownAdapter): string {
  const tables = Object.entries(products).toSorted(([a], [b]) => a < b ? -1 : 1).map(([key, choices]) =>
    `    ${quoted(key)}: [\n${choices.map(({ upTo, kernel }) => `      { upTo: ${upTo}, kernel: [${kernel.filter(part => part !== undefined).map(part => typeof part === 'string' ? quoted(part) : part).join(', ')}] }`).join(',\n')}\n    ]`)
  const module = `import type { KnownAdapter } from '../known-adapter.ts'

/** Written by \`daybreak bench kernels --save-known\`, to be written anew and not edited. */
export const known: KnownAdapter = {
  adapter: ${quoted(adapter)},
  driver: ${quoted(driver)},
  kernels: ${quoted(kernels)},
  products: {
${tables.join(',\n')}
  }
}
`
  return `${module.split('\n').length > 400 ? '// longer than 400 lines because there is a table for each shape of all named models\n' : ''}${module}`
}

function quoted (text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&').replace(/[\r\n]/g, ' ')}'`
}
