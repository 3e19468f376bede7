/**
 * SentencePiece's BPE merges the neighbours whose joint piece has the highest score, the leftmost of equal ones. Written as merges: every
 * way to cut a piece in two pieces, ranked by the score of the whole. Equal scores get equal ranks, because there the place decides.
 */

export interface ScoredPiece {
  readonly content: string
  readonly score: number
}

export interface RankedMerges {
  readonly merges: ReadonlyArray<readonly [string, string]>
  /** The rank of each merge; undefined where the ranks are 0, 1, 2 … */
  readonly ranks: readonly number[] | undefined
}

/** Best first. Pieces are distinct. */
export function mergesByScore (pieces: readonly ScoredPiece[]): RankedMerges {
  const known = new Set(pieces.map(({ content }) => content))
  const merges: Array<readonly [string, string]> = []
  const ranks: number[] = []
  let last: number | undefined
  for (const { content, score } of pieces.toSorted((a, b) => b.score - a.score)) {
    const rank = score === last ? ranks.at(-1) ?? 0 : merges.length
    const cuts = cutsInTwo(content).filter(([left, right]) => known.has(left) && known.has(right))
    for (const cut of cuts) {
      merges.push(cut)
      ranks.push(rank)
    }
    if (cuts.length > 0) last = score
  }
  return { merges, ranks: ranks.every((rank, i) => rank === i) ? undefined : ranks }
}

/** Between characters, never inside a surrogate pair. */
function cutsInTwo (content: string): Array<readonly [string, string]> {
  const cuts: Array<readonly [string, string]> = []
  let at = 0
  for (const character of content) {
    if (at > 0) cuts.push([content.slice(0, at), content.slice(at)])
    at += character.length
  }
  return cuts
}
