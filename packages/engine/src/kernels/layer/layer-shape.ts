/** A decoder layer that one dispatch computes for a few single tokens, a row each, and how its work is dealt out. */
export interface WholeLayerShape {
  /** Multiples of 16. */
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHeads: number
  readonly numKVHeads: number
  /** A multiple of 32 whose half is a power of two. */
  readonly headDim: number
  readonly qkvBias: boolean
  /** Queries and keys are normalised head by head before they turn. */
  readonly qkNorm: boolean
  /** Rows at most, a power of two: steps of fewer run, too. */
  readonly rows: number
  /** Products of eight rows run on tensor cores. */
  readonly matrices: boolean
  /** Workgroups, all of which must run side by side. */
  readonly workgroups: number
  /** Runs of 32 lanes in a workgroup, a power of two. */
  readonly teams: number
  /** K tiles that a team asks for at a time, at most. */
  readonly ahead: number
  /** Bytes of workgroup memory for several rows: K passes through it in pieces. */
  readonly pieceBytes: number
  /** Lanes that exchange values: those of the adapter's subgroups. */
  readonly subgroup: number
}

/** One of a layer's four products: rows of x · Wᵀ, its column tiles dealt out to workgroups one by one. */
export interface LayerProduct {
  readonly name: 'qkv' | 'output' | 'gate_up' | 'down'
  readonly k: number
  /** Column tiles; of the gated product those of the gate. */
  readonly tiles: number
  /** Workgroups side by side that have the same column tiles, each a part of K. */
  readonly across: number
  /** Column tiles of a workgroup, some of which it may lack; of the gated product gate and up in turns. */
  readonly slots: number
  /** Teams that share a column tile, each a part of K. */
  readonly sharers: number
  /** Column tiles that are multiplied side by side, and one after the other. */
  readonly abreast: number
  readonly rounds: number
  /** Pieces of a workgroup's K, one after the other in workgroup memory. */
  readonly pieces: number
  /** K tiles of a piece that a team multiplies of one column tile, and those it asks for at a time. */
  readonly depth: number
  readonly ahead: number
}

/** All of a workgroup's turns of `ahead` K tiles. */
export function turnsOf ({ rounds, pieces, depth, ahead }: LayerProduct): number {
  return rounds * pieces * depth / ahead
}

/** Vectors of eight halves from one row of a piece to the next: one more than they have, so that rows lie in different banks. */
export function rowVectors ({ k, across, pieces }: LayerProduct): number {
  return k / 8 / across / pieces + 1
}

/** Workgroups that have different column tiles. */
export function columnGroups ({ across }: LayerProduct, { workgroups }: WholeLayerShape): number {
  return workgroups / across
}

/** Column tiles whose rows of the residual stream a workgroup writes. */
export function ownTiles ({ slots, across }: LayerProduct): number {
  return slots / across
}

/** Undefined where a product cannot be dealt out. */
export function layerProducts (shape: WholeLayerShape): Readonly<Record<LayerProduct['name'], LayerProduct>> | undefined {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, workgroups } = shape
  const product = (name: LayerProduct['name'], k: number, columns: number): LayerProduct | undefined => {
    const tiles = columns / 16
    // Few rows' long K in pieces would stop at each; workgroups that share it have one each.
    for (const across of name === 'down' && shape.rows > 1 ? [1, 2, 4, 8, 16] : [1]) {
      if (workgroups % across !== 0 || k / 16 % across !== 0) break
      const slots = Math.ceil(tiles / workgroups) * (name === 'gate_up' ? 2 : across)
      const deal = shape.rows === 1 ? dealtAlone(k / 16, slots, shape) : dealt(k / 16 / across, slots, shape)
      if (deal !== undefined && (name !== 'down' || deal.pieces === 1)) return { name, k, tiles, across, slots, ...deal }
    }
    return undefined
  }
  const qkv = product('qkv', hiddenSize, (numHeads + 2 * numKVHeads) * headDim)
  const output = product('output', numHeads * headDim, hiddenSize)
  const gateUp = product('gate_up', hiddenSize, intermediateSize)
  const down = product('down', intermediateSize, hiddenSize)
  return qkv && output && gateUp && down && { qkv, output, gate_up: gateUp, down }
}

type Deal = Pick<LayerProduct, 'sharers' | 'abreast' | 'rounds' | 'pieces' | 'depth' | 'ahead'>

/** As few teams share a tile as leave none without work, where that deals out tiles evenly, and as many as cut K evenly. */
function dealtAlone (tiles: number, slots: number, { teams, ahead }: WholeLayerShape): Deal {
  let sharers = teams
  const abreastOf = (count: number): number => teams / count
  while (sharers > 1 && (tiles % sharers !== 0 || slots % abreastOf(sharers / 2) === 0)) sharers /= 2
  const depth = tiles / sharers
  return { sharers, abreast: abreastOf(sharers), rounds: Math.ceil(slots / abreastOf(sharers)), pieces: 1, depth, ahead: divisor(depth, ahead) }
}

/**
 * Tiles side by side as far as there are teams; K in as few pieces as there is room for, cut evenly. A piece is multiplied in one round, and so are matrices, whose sums take the
 * place of the rows.
 */
function dealt (tiles: number, slots: number, { rows, matrices, teams, ahead, pieceBytes }: WholeLayerShape): Deal | undefined {
  const most = Math.max(1, teams / 2 ** Math.ceil(Math.log2(slots)))
  for (let pieces = 1; pieces <= tiles; pieces++) {
    if (16 * rows * (2 * tiles / pieces + 1) > pieceBytes) continue
    for (let sharers = most; sharers >= 1; sharers /= 2) {
      const [abreast, depth] = [teams / sharers, tiles / pieces / sharers]
      const rounds = Math.ceil(slots / abreast)
      if (depth % 1 === 0 && (rounds === 1 || (pieces === 1 && !matrices))) return { sharers, abreast, rounds, pieces, depth, ahead: divisor(depth, ahead) }
    }
  }
  return undefined
}

/** The largest that is no more than `most`. */
function divisor (of: number, most: number): number {
  let count = Math.min(most, of)
  while (of % count !== 0) count--
  return count
}
