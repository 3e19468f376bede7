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
  /** Where there are any, whatever is preempted is swapped out as far as they reach. */
  readonly numHostSlots: number
  readonly hostGroupSize: number
  readonly swapInStepBlocks: number
}

const roomy: Kind = {
  name: 'room for all', numKVBlocks: 256, blockSize: 4, maxBatchedTokens: 48, maxSequences: 8, maxPrefillChunk: 1_000, prefixCaching: true, depth: 2, numHostSlots: 0, hostGroupSize: 1, swapInStepBlocks: 1_000
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
const swappingKinds: readonly Kind[] = [
  ...kinds.slice(1).map(kind => ({ ...kind, name: `${kind.name} and a host tier`, numHostSlots: 256 })),
  { ...roomy, name: 'a tiny pool and a tiny host tier', numKVBlocks: 16, numHostSlots: 7 },
  { ...roomy, name: 'four steps in flight and a host tier', numKVBlocks: 20, depth: 4, numHostSlots: 40 },
  { ...roomy, name: 'a tiny pool and a host tier in groups of three blocks', numKVBlocks: 16, numHostSlots: 18, hostGroupSize: 3 },
  { ...roomy, name: 'a tiny pool and host tier without prefix caching', numKVBlocks: 16, prefixCaching: false, numHostSlots: 12 },
  { ...roomy, name: 'a tiny pool and one swapped sequence a step', numKVBlocks: 16, numHostSlots: 256, swapInStepBlocks: 1 },
  { ...roomy, name: 'a small pool and four swapped blocks a step', numKVBlocks: 24, prefixCaching: false, depth: 3, numHostSlots: 256, swapInStepBlocks: 4 }
]

/** What the schedules went through, lest they pass by avoiding it. */
const seen = { preemptions: 0, hits: 0, copies: 0, unknownTokens: 0, histories: 0, scored: 0, keptPrefixes: 0, swappedOut: 0, swappedIn: 0 }

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

for (const [index, kind] of [...kinds, ...swappingKinds].entries()) {
  for (const seed of kind.numHostSlots === 0 ? [1_000 + index, 2_000 + index] : [1_000 + index]) {
    t.test(`a random schedule with ${kind.name} generates what each request generates alone (seed ${seed})`, async t => {
      const random = new SeededRandom(seed)
      const { numKVBlocks, blockSize, maxBatchedTokens, maxSequences, maxPrefillChunk, prefixCaching, depth, numHostSlots, hostGroupSize, swapInStepBlocks } = kind
      const harness = new Harness({
        limits: { numKVBlocks, blockSize, maxBatchedTokens, maxSequences, maxLogitRows: maxSequences, maxModelLen: 96 },
        config: { maxPrefillChunk, maxPreemptions: 100_000, preemption: 'swap', swapInStepBlocks },
        prefixCaching,
        numHostSlots,
        hostGroupSize
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
      t.equal(harness.kvCache.stats.numHostSlotsUsed, 0, 'no host slot is lost')
      t.equal(harness.kvCache.numSwapped, 0)
      const { numPreemptions, prefixCacheHits, swappedOutBlocks, swappedInBlocks } = harness.scheduler.stats()
      if (numHostSlots === 0) t.equal(swappedOutBlocks, 0)
      const sequences = harness.batches.flatMap(batch => batch.sequences)
      seen.preemptions += numPreemptions
      seen.hits += prefixCacheHits
      seen.copies += harness.batches.flatMap(({ moves }) => moves).length
      seen.unknownTokens += sequences.filter(({ tokens }) => tokens === undefined).length
      seen.histories += sequences.filter(({ history }) => history !== undefined).length
      seen.scored += sequences.filter(({ scoreTargets }) => scoreTargets !== undefined).length
      seen.swappedOut += swappedOutBlocks
      seen.swappedIn += swappedInBlocks
      t.comment(`${requests.length} requests, ${harness.batches.length} steps, ${numPreemptions} preemptions, ${swappedOutBlocks} blocks out, ${swappedInBlocks} in`)
    })
  }
}

t.test('the random schedules preempted, reused, copied, ran ahead of token values, counted, scored, kept prefixes and swapped', async t => {
  t.comment(JSON.stringify(seen))
  for (const [name, count] of Object.entries(seen)) t.ok(count > 50, `${name}: ${count}`)
})
