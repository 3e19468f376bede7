/** The BPE model as a tokenizer.json writes it: which models are BPE of the kind that `BytePairModel` is, their vocabulary, their merges. */
import type { TokenId } from '@daybreak/kvcache'
import { z } from 'zod'
import { MergeTable } from './tokenizer-merges.ts'

const MOST_MERGES = 2 ** 21
/** Tables are as long as the highest id. */
const MOST_IDS = 2 ** 22

const bpeModel = z.looseObject({
  // Files from before 2021 do not say what they are.
  type: z.literal('BPE').nullish(),
  unk_token: z.string().nullish(),
  fuse_unk: z.boolean().nullish(),
  byte_fallback: z.boolean().nullish(),
  ignore_merges: z.boolean().nullish(),
  continuing_subword_prefix: z.literal('').nullish(),
  end_of_word_suffix: z.literal('').nullish(),
  vocab: z.custom<Readonly<Record<string, unknown>>>(value => typeof value === 'object' && value !== null && !Array.isArray(value)),
  merges: z.custom<readonly unknown[]>(Array.isArray),
  // Ours: SentencePiece gives pieces of one score one rank, which the order of a list cannot say.
  merge_ranks: z.array(z.int().nonnegative().lt(MOST_MERGES)).optional()
})

/** Checked but for the entries of vocabulary and merges, which are checked as they are read: there are hundreds of thousands. */
export type BpeModelFile = z.infer<typeof bpeModel>

/** Undefined for other models, and for BPE that marks the parts of a word. */
export function asBpeModel (model: unknown): BpeModelFile | undefined {
  return bpeModel.safeParse(model).data
}

/** @throws TypeError for ids that are none */
export function readVocabulary (vocab: BpeModelFile['vocab']): Map<string, TokenId> {
  const ids = new Map<string, TokenId>()
  for (const token of Object.keys(vocab)) {
    const id = vocab[token]
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > MOST_IDS) throw new TypeError(`the id of ${JSON.stringify(token)} is ${JSON.stringify(id)}`)
    ids.set(token, id)
  }
  return ids
}

/**
 * The merges by ids. `spaceInside`: some merged token has a `▁` behind another character.
 * @throws TypeError for merges of, or to, what is not in the vocabulary
 */
export function readMerges ({ merges, merge_ranks: ranks }: BpeModelFile, vocab: ReadonlyMap<string, TokenId>): { table: MergeTable; spaceInside: boolean } {
  if (merges.length >= MOST_MERGES) throw new TypeError(`${merges.length} merges; at most ${MOST_MERGES - 1} are possible`)
  const table = new MergeTable(merges.length)
  let spaceInside = false
  for (let at = 0; at < merges.length; at++) {
    const pair = readMerge(merges[at])
    if (pair === undefined) throw new TypeError(`merge ${at} is not two tokens`)
    const [left, right] = pair
    const leftId = vocab.get(left)
    const rightId = vocab.get(right)
    const mergedId = vocab.get(left + right)
    if (leftId === undefined || rightId === undefined || mergedId === undefined) throw new TypeError(`merge ${at} is of tokens that are not in the vocabulary`)
    table.add(leftId, rightId, ranks?.[at] ?? at, mergedId)
    spaceInside ||= /[^▁]▁/.test(right) || (right.startsWith('▁') && /[^▁]/.test(left)) || /[^▁]▁/.test(left)
  }
  return { table, spaceInside }
}

/** Written as `"a b"`, since 2024 also as `["a", "b"]`. */
function readMerge (merge: unknown): readonly [string, string] | undefined {
  if (typeof merge === 'string') {
    const at = merge.indexOf(' ')
    return at < 0 || merge.includes(' ', at + 1) ? undefined : [merge.slice(0, at), merge.slice(at + 1)]
  }
  if (!Array.isArray(merge) || merge.length !== 2) return undefined
  const [left, right]: readonly unknown[] = merge
  return typeof left === 'string' && typeof right === 'string' ? [left, right] : undefined
}
