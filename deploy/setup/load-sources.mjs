/**
 * `node --import=…/load-sources.mjs` runs our sources: through tsx, or, below a test run, from the bundles that it has made
 * (bundle-tests.mjs) and whose folder `DAYBREAK_TEST_BUNDLES` names.
 */
import { existsSync } from 'node:fs'
import { register } from 'node:module'
import { pathToFileURL } from 'node:url'

const bundles = process.env.DAYBREAK_TEST_BUNDLES
if (bundles !== undefined && existsSync(bundles)) register('./resolve-bundles.mjs', import.meta.url, { data: pathToFileURL(`${bundles}/`).href })
else await import('tsx')
