import type { BlockTable } from '@daybreak/kvcache'

/** A query token as sharing depends on it. */
export interface PrefixRow {
  readonly table: BlockTable
  /** Blocks, from the first on, all of whose keys it sees and none of which it writes. */
  readonly blocks: number
}

/** Rows whose keys lie in the same blocks from the first key on. */
export interface SharedPrefix {
  /** Indices of rows; each row has at most one prefix. */
  readonly members: readonly number[]
  readonly keys: number
}

export interface PrefixRule {
  readonly blockSize: number
  /** Shared keys are rounded down to a multiple of this. */
  readonly unit: number
  /** Of so many rows that attend a key together, those by which that is less work than apart; negative where it is more. */
  readonly rowsSaved: (members: number) => number
  /** Fewer members or keys are not worth sharing. */
  readonly leastMembers: number
  readonly leastKeys: number
}

/** Prefixes chosen below a node of the trie. */
interface Choice {
  readonly prefixes: readonly SharedPrefix[]
  /** Keys, one for each row saved. */
  readonly saved: number
  readonly covered: number
}

const NOTHING: Choice = { prefixes: [], saved: 0, covered: 0 }

/**
 * Which rows attend which beginning of their keys together. Block tables are compared as they are, physical block by physical block, so
 * that it does not matter why two of them agree. n rows that share d keys save `rowsSaved(n)`·d of them. One level of sharing is chosen:
 * in the trie of block tables, from the leaves up, what has been chosen below a node leaves it when that saves more than the node's
 * keys do for those rows; the others share at the node.
 * @see BatchLLM (arXiv 2412.03594), first-level enlargement. Differs: made for each step and of rows, not once for all prompts
 */
export function sharedPrefixes (rows: readonly PrefixRow[], rule: PrefixRule): readonly SharedPrefix[] {
  return rows.length < rule.leastMembers ? [] : choose(rows, Array.from(rows, (_, i) => i), 0, rule).prefixes
}

/** @param known blocks that all members are known to share */
function choose (rows: readonly PrefixRow[], members: readonly number[], known: number, rule: PrefixRule): Choice {
  const depth = sharedBlocks(rows, members, known)
  const keys = Math.floor(depth * rule.blockSize / rule.unit) * rule.unit
  const below = branches(rows, members, depth, rule.leastMembers).map(branch => choose(rows, branch, depth + 1, rule))
  const apart = below.reduce(together, NOTHING)
  if (keys < rule.leastKeys) return apart
  const savedHere = (rows: number): number => rule.rowsSaved(rows) * keys
  const leaving = below.filter(({ saved, covered }) => saved > savedHere(members.length) - savedHere(members.length - covered)).reduce(together, NOTHING)
  const left = new Set(leaving.prefixes.flatMap(prefix => prefix.members))
  const staying = left.size === 0 ? members : members.filter(member => !left.has(member))
  if (staying.length < rule.leastMembers) return apart
  const here = together(leaving, { prefixes: [{ members: staying, keys }], saved: savedHere(staying.length), covered: staying.length })
  return here.saved > 0 && here.saved >= apart.saved ? here : apart
}

function sharedBlocks (rows: readonly PrefixRow[], members: readonly number[], known: number): number {
  const first = rows[members[0] ?? 0]
  if (first === undefined) return 0
  let shared = first.blocks
  for (const member of members) {
    const row = rows[member] ?? first
    const most = Math.min(shared, row.blocks)
    let block = known
    while (block < most && row.table[block] === first.table[block]) block++
    shared = block
    if (shared === known) break
  }
  return shared
}

/** Members that go on alike behind `depth` blocks; those too few to share are left out. */
function branches (rows: readonly PrefixRow[], members: readonly number[], depth: number, least: number): readonly number[][] {
  const byBlock = new Map<number, number[]>()
  for (const member of members) {
    const row = rows[member]
    const block = row?.table[depth]
    if (row === undefined || block === undefined || depth >= row.blocks) continue
    const branch = byBlock.get(block)
    if (branch === undefined) byBlock.set(block, [member])
    else branch.push(member)
  }
  return [...byBlock.values()].filter(({ length }) => length >= least)
}

function together (a: Choice, b: Choice): Choice {
  if (a.covered === 0) return b
  return { prefixes: [...a.prefixes, ...b.prefixes], saved: a.saved + b.saved, covered: a.covered + b.covered }
}
