import t from 'tap'
import type { GenerationRequest } from '@daybreak/scheduler'
import { SeededRandom } from '../fakes/seeded-random.ts'
import { Harness } from './harness.ts'
import type { RequestShape } from './harness.ts'

const STEPS = 300

interface Kind {
  readonly name: string
  readonly numKVBlocks: number
  readonly blockSize: number
  readonly maxBatchedTokens: number
  readonly maxSequences: number
  readonly maxPrefillChunk: number
  readonly prefixCaching: boolean
  readonly depth: number
}

const roomy: Kind = {
  name: 'room for all', numKVBlocks: 256, blockSize: 4, maxBatchedTokens: 48, maxSequences: 8, maxPrefillChunk: 1_000, prefixCaching: true, depth: 2
}
const kinds: readonly Kind[] = [
  roomy,
  { ...roomy, name: 'a tiny pool', numKVBlocks: 16 },
  { ...roomy, name: 'a tiny pool without prefix caching', numKVBlocks: 16, prefixCaching: false },
  { ...roomy, name: 'one step in flight', numKVBlocks: 20, depth: 1 },
  { ...roomy, name: 'three steps in flight', numKVBlocks: 20, depth: 3 },
  { ...roomy, name: 'chunks of three tokens', numKVBlocks: 24, maxPrefillChunk: 3 },
  { ...roomy, name: 'a budget of four tokens', numKVBlocks: 24, maxBatchedTokens: 4, maxSequences: 16 },
  { ...roomy, name: 'blocks of one token', numKVBlocks: 60, blockSize: 1 },
  { ...roomy, name: 'blocks of sixteen tokens', numKVBlocks: 6, blockSize: 16 },
  { ...roomy, name: 'two rows', numKVBlocks: 32, maxSequences: 2 }
]

/** What the schedules went through, lest they pass by avoiding it. */
const seen = { preemptions: 0, hits: 0, copies: 0, unknownTokens: 0, histories: 0, scored: 0, keptPrefixes: 0 }

/** Prompts overlap often: a few stems, cut anywhere, with or without an ending of their own. */
function randomRequest (random: SeededRandom, serial: number): RequestShape {
  const stem = random.integer(3)
  const promptTokens = Array.from({ length: random.between(1, 40) }, (_, i) => (stem * 100 + i) % 1000)
  if (random.chance(0.6)) promptTokens.push(500 + serial % 400, ...promptTokens.slice(0, random.integer(5)))
  const isScored = random.chance(0.1)
  const length = random.pick([3, 4, 9, 20])
  const isMember = random.chance(0.4) && promptTokens.length >= length && promptTokens.slice(0, length).every((token, i) => token === stem * 100 + i)
  return {
    promptTokens,
    numChoices: random.chance(0.3) ? random.between(2, 4) : 1,
    maxTokens: random.chance(0.1) ? 0 : random.between(1, 24),
    stopTokens: random.chance(0.5) ? Array.from({ length: 60 }, () => random.integer(1000)) : [],
    priority: random.chance(0.2) ? random.between(-1, 1) : 0,
    promptLogprobs: isScored ? random.integer(4) : undefined,
    background: random.chance(0.25),
    prefixGroup: isMember ? { id: `${stem}/${length}`, length } : undefined,
    sampling: random.chance(0.3) ? { presencePenalty: 0.5 } : random.chance(0.5) ? { temperature: 1, seed: serial } : {}
  }
}

for (const [index, kind] of kinds.entries()) {
  for (const seed of [1_000 + index, 2_000 + index]) {
    t.test(`a random schedule with ${kind.name} generates what each request generates alone (seed ${seed})`, async t => {
      const random = new SeededRandom(seed)
      const { numKVBlocks, blockSize, maxBatchedTokens, maxSequences, maxPrefillChunk, prefixCaching, depth } = kind
      const harness = new Harness({
        limits: { numKVBlocks, blockSize, maxBatchedTokens, maxSequences, maxLogitRows: maxSequences, maxModelLen: 96 },
        config: { maxPrefillChunk, maxPreemptions: 100_000 },
        prefixCaching
      })
      const requests: GenerationRequest[] = []
      const aborted = new Set<string>()
      for (let step = 0; step < STEPS; step++) {
        if (random.chance(0.25)) requests.push(harness.add(randomRequest(random, requests.length)))
        const request = requests.length > 0 ? random.pick(requests.slice(-8)) : undefined
        if (request !== undefined && random.chance(0.04)) {
          const choice = random.chance(0.5) ? undefined : random.integer(request.choices.length)
          harness.abort(request, choice)
          for (const [i] of request.choices.entries()) if (choice === undefined || choice === i) aborted.add(`${request.id}/${i}`)
        }
        if (request !== undefined && random.chance(0.05)) harness.scheduler.pause(request.id)
        if (request !== undefined && random.chance(0.1)) harness.scheduler.resume(request.id)
        if (harness.numInFlight < depth && random.chance(0.8)) harness.submit()
        seen.keptPrefixes += harness.kvCache.numSequences - harness.scheduler.stats().numRunning
        if (harness.numInFlight === depth || random.chance(0.3)) harness.complete()
      }
      for (const { id } of requests) harness.scheduler.resume(id)
      harness.drain(depth)

      for (const request of requests) {
        for (const choice of request.choices.keys()) {
          const alone = harness.aloneOutputOf(request, choice)
          const output = harness.outputOf(request, choice)
          const reason = harness.finishOf(request, choice)
          const stopped = request.stopTokens.includes(alone.at(-1) ?? -1)
          if (reason === 'abort' && aborted.has(`${request.id}/${choice}`)) t.same(output, alone.slice(0, output.length))
          else t.strictSame([output, reason], [alone, stopped ? 'stop' : 'length'])
        }
      }
      t.equal(harness.scheduler.stats().numRunning + harness.scheduler.stats().numWaiting, 0)
      t.equal(harness.kvCache.stats.numUsed, 0, 'no block is lost')
      const { numPreemptions, prefixCacheHits } = harness.scheduler.stats()
      const sequences = harness.batches.flatMap(batch => batch.sequences)
      seen.preemptions += numPreemptions
      seen.hits += prefixCacheHits
      seen.copies += harness.batches.flatMap(({ moves }) => moves).length
      seen.unknownTokens += sequences.filter(({ tokens }) => tokens === undefined).length
      seen.histories += sequences.filter(({ history }) => history !== undefined).length
      seen.scored += sequences.filter(({ scoreTargets }) => scoreTargets !== undefined).length
      t.comment(`${requests.length} requests, ${harness.batches.length} steps, ${numPreemptions} preemptions`)
    })
  }
}

t.test('the random schedules preempted, reused, copied, ran ahead of token values, counted, scored and kept prefixes', async t => {
  t.comment(JSON.stringify(seen))
  for (const [name, count] of Object.entries(seen)) t.ok(count > 50, `${name}: ${count}`)
})
