/** A process of its own that fetches what its own environment lets it, and prints it: `fetch-child.ts URL`. */
import { environmentFetch } from '../../apps/server/src/models/download/index.ts'

const response = await environmentFetch(process.env)(process.argv[2] ?? '')
console.log(response.status, await response.text())
