/** A process that fills its young generation with objects that survive, and prints how many MiB it has grown to. */
import { getHeapSpaceStatistics } from 'node:v8'

const kept: object[] = []
for (let i = 0; i < 2_000_000; i++) {
  if (i % 500_000 === 0) kept.length = 0
  kept.push({ i })
}
const bytes = getHeapSpaceStatistics().find(space => space.space_name === 'new_space')?.space_size ?? 0
process.stdout.write(`${bytes / 2 ** 20}\n`)
