/** A process of its own that makes a model of the Hub ready and says so: `download-child.ts OWNER/NAME ENV_AS_JSON`. */
import { parseHubReference, resolveHubModel } from '../../apps/server/src/models/hub/index.ts'

const [name = '', env = '{}'] = process.argv.slice(2)
const reference = parseHubReference(name)
if (reference === undefined) throw new Error(`${name} is no name of the Hub`)
const progress = {
  begin: () => {},
  update: (doneBytes: number) => { console.log(`bytes ${doneBytes}`) },
  note: (message: string) => { console.log(message) },
  end: () => {}
}
const { path } = await resolveHubModel(reference, { env: JSON.parse(env), progress })
console.log(`done ${path}`)
