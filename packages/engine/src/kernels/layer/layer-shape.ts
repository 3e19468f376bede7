/** A decoder layer that one dispatch computes for a single token, and how its work is dealt out. */
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
  /** Workgroups, all of which must run side by side. */
  readonly workgroups: number
  /** Runs of 32 lanes in a workgroup, a power of two. */
  readonly teams: number
  /** K tiles that a team asks for at a time, at most. */
  readonly ahead: number
  /** Lanes that exchange values: those of the adapter's subgroups. */
  readonly subgroup: number
}

/** One of a layer's four products: rows of x · Wᵀ, its column tiles dealt out to workgroups one by one. */
export interface LayerProduct {
  readonly name: 'qkv' | 'output' | 'gate_up' | 'down'
  readonly k: number
  /** Column tiles; of the gated product those of the gate. */
  readonly tiles: number
  /** Column tiles of a workgroup, some of which it may lack; of the gated product gate and up in turns. */
  readonly slots: number
  /** Teams that share a column tile, each a part of K. */
  readonly sharers: number
  /** Column tiles that are multiplied side by side, and one after the other. */
  readonly abreast: number
  readonly rounds: number
  /** K tiles that a team multiplies of one column tile, and those it asks for at a time. */
  readonly depth: number
  readonly ahead: number
}

/** All of a workgroup's turns of `ahead` K tiles. */
export function turnsOf ({ rounds, depth, ahead }: LayerProduct): number {
  return rounds * depth / ahead
}

export function layerProducts (shape: WholeLayerShape): Readonly<Record<LayerProduct['name'], LayerProduct>> {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, workgroups } = shape
  const product = (name: LayerProduct['name'], k: number, columns: number): LayerProduct => {
    const tiles = columns / 16
    const slots = Math.ceil(tiles / workgroups) * (name === 'gate_up' ? 2 : 1)
    return { name, k, tiles, slots, ...dealt(k / 16, slots, shape) }
  }
  return {
    qkv: product('qkv', hiddenSize, (numHeads + 2 * numKVHeads) * headDim),
    output: product('output', numHeads * headDim, hiddenSize),
    gate_up: product('gate_up', hiddenSize, intermediateSize),
    down: product('down', intermediateSize, hiddenSize)
  }
}

/** As few teams share a tile as leave none without work, where that deals out tiles evenly, and as many as cut K evenly. */
function dealt (tiles: number, slots: number, { teams, ahead: most }: WholeLayerShape): Pick<LayerProduct, 'sharers' | 'abreast' | 'rounds' | 'depth' | 'ahead'> {
  let sharers = teams
  const abreastOf = (count: number): number => teams / count
  while (sharers > 1 && (tiles % sharers !== 0 || slots % abreastOf(sharers / 2) === 0)) sharers /= 2
  const depth = tiles / sharers
  let ahead = Math.min(most, depth)
  while (ahead > 1 && depth % ahead !== 0) ahead--
  return { sharers, abreast: abreastOf(sharers), rounds: Math.ceil(slots / abreastOf(sharers)), depth, ahead }
}
