import t from 'tap'
import { groupByPrefix, groupByPrefixInTurns, prefixSavings } from '../../../packages/scheduler/src/prefix-groups/group-by-prefix.ts'
import { buildPrefixTree } from '../../../packages/scheduler/src/prefix-groups/prefix-tree.ts'
import type { PrefixNode, PromptTokens } from '../../../packages/scheduler/src/prefix-groups/prefix-tree.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'

const BLOCK = 4

t.test('prompts that share nothing are groups of one, in order', async t => {
  t.same(groupByPrefix([[1, 2, 3, 4, 5], [2, 2, 3, 4, 5], [3, 2, 3, 4, 5]], BLOCK), [
    { prefixLength: 0, members: [0] }, { prefixLength: 0, members: [1] }, { prefixLength: 0, members: [2] }
  ])
})

t.test('a pair that shares a beginning and two strangers make one group and two single prompts', async t => {
  const prompts = [[9, 9, 9, 9, 9], [1, 2, 3, 4, 5, 6], [8, 8], [1, 2, 3, 4, 5, 7]]
  t.same(groupByPrefix(prompts, BLOCK), [
    { prefixLength: 0, members: [0] }, { prefixLength: 5, members: [1, 3] }, { prefixLength: 0, members: [2] }
  ])
})

t.test('equal prompts are one group, and so are a prompt and its continuations', async t => {
  t.same(groupByPrefix([[1, 2, 3, 4], [1, 2, 3, 4]], BLOCK), [{ prefixLength: 4, members: [0, 1] }])
  t.same(groupByPrefix([[1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 7]], BLOCK), [{ prefixLength: 4, members: [0, 1, 2] }])
})

t.test('a prefix of a block is shared, one token less is not', async t => {
  const prompts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]]
  t.same(groupByPrefix(prompts, 4).map(({ prefixLength }) => prefixLength), [4])
  t.same(groupByPrefix(prompts, 5).map(({ prefixLength }) => prefixLength), [0, 0])
})

t.test('no prompts, and prompts without tokens', async t => {
  t.same(groupByPrefix([], BLOCK), [])
  t.same(groupByPrefix([[], [1], []], BLOCK), [{ prefixLength: 0, members: [0] }, { prefixLength: 0, members: [1] }, { prefixLength: 0, members: [2] }])
})

t.test('a short beginning that all share is computed again where longer ones lie behind it', async t => {
  const system = [1, 2, 3, 4]
  const documents = [5, 6, 7].map(token => Array<number>(20).fill(token))
  const prompts = documents.flatMap(document => [30, 31, 32].map(end => [...system, ...document, end]))
  t.same(groupByPrefix(prompts, BLOCK).map(({ prefixLength, members }) => [prefixLength, members.length]), [[24, 3], [24, 3], [24, 3]])
})

t.test('a long beginning stays shared where what lies behind it is short', async t => {
  const system = Array<number>(100).fill(1)
  const prompts = [2, 2, 3, 3].map((document, i) => [...system, document, document, 10 + i])
  t.same(groupByPrefix(prompts, BLOCK), [{ prefixLength: 100, members: [0, 1, 2, 3] }])
})

t.test('twenty thousand prompts, each the beginning of the one before, do not exhaust the stack', async t => {
  const tokens = Int32Array.from({ length: 20_000 }, (_, i) => i % 7)
  const groups = groupByPrefix(Array.from(tokens, (_, i) => tokens.subarray(0, tokens.length - i)), BLOCK)
  t.equal(groups.reduce((sum, { members }) => sum + members.length, 0), 20_000)
})

t.test('in random batches every prompt is in one group, whose prefix all its members begin with', async t => {
  const seed = 20261126
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  for (let round = 0; round < 300; round++) {
    const alphabet = random.between(1, 3)
    const prompts = Array.from({ length: random.between(1, 40) }, () => Array.from({ length: random.between(0, 12) }, () => random.integer(alphabet)))
    const groups = groupByPrefix(prompts, random.between(1, 4))
    const members = groups.flatMap(group => group.members)
    if (members.length !== prompts.length || new Set(members).size !== prompts.length) t.fail(`round ${round}: prompts lost or doubled`)
    for (const { prefixLength, members } of groups) {
      const prefixes = new Set(members.map(member => JSON.stringify(prompts[member]?.slice(0, prefixLength))))
      const shortest = Math.min(...members.map(member => prompts[member]?.length ?? 0))
      if (prefixes.size !== 1 || shortest < prefixLength) t.fail(`round ${round}: ${JSON.stringify(members)} do not share ${prefixLength} tokens`)
    }
    const { computedTokens } = prefixSavings(groups, prompts)
    if (computedTokens < tokensIn(buildPrefixTree(prompts))) t.fail(`round ${round}: more saved than there is`)
  }
  t.pass('all hold')
})

t.test('one level of sharing saves within a point and a half of what all levels would', async t => {
  const random = new SeededRandom(7)
  const tokens = (length: number): number[] => Array.from({ length }, () => random.integer(32_000))
  const system = tokens(60)
  // Degrees with a heavy tail, as Pareto's of exponent 1.3.
  const prompts: PromptTokens[] = Array.from({ length: 100 }, () => tokens(1_000)).flatMap(document => {
    const degree = Math.min(60, Math.floor((1 - random.uniform()) ** (-1 / 1.3)))
    return Array.from({ length: degree }, () => [...system, ...document, ...tokens(100)])
  })
  const { logicalTokens, computedTokens } = prefixSavings(groupByPrefix(prompts, 16), prompts)
  const single = 1 - computedTokens / logicalTokens
  const multi = 1 - tokensIn(buildPrefixTree(prompts)) / logicalTokens
  t.ok(multi - single < 0.015, `${single.toFixed(3)} of ${multi.toFixed(3)}`)
})

/** What is left to compute when every level is shared. */
function tokensIn ({ start, end, children }: PrefixNode): number {
  return end - start + children.reduce((sum, child) => sum + tokensIn(child), 0)
}

t.test('grouping in turns finds the same groups, and lets others have theirs', async t => {
  const random = new SeededRandom(7)
  const beginnings = Array.from({ length: 5 }, () => Array.from({ length: 3000 }, () => random.integer(50)))
  const prompts = Array.from({ length: 400 }, () => Int32Array.from([...beginnings[random.integer(5)] ?? [], ...Array.from({ length: random.integer(20) }, () => random.integer(50))]))
  let numTurns = 0
  t.same(await groupByPrefixInTurns(prompts, BLOCK, async () => { numTurns++ }), groupByPrefix(prompts, BLOCK))
  t.ok(numTurns > 3, `${numTurns}`)
})
