import { unroll } from '../unroll.ts'

export interface MmaRowsShape {
  readonly headDim: number
  /** Keys whose scores a row has at a time, a multiple of 16. */
  readonly keys: number
  readonly capped: boolean
}

/** What is true of the keys at hand, in the kernel's terms. */
export interface MmaRowsTurn {
  /** A number of their own, above zero. */
  readonly number: string
  /** Whether there is output of keys before them. */
  readonly isLater: string
}

/** Vectors of four scores between a subgroup's rows. */
export function scorePitch (keys: number): number {
  return (keys + 8) / 4
}

/** Vectors of eight weights between a subgroup's rows. */
export function weightPitch (keys: number): number {
  return keys / 8 + 1
}

/**
 * Accumulators `out_0` and on of a subgroup, on their way through its rows of `scores`, `pitch` vectors of four each, since a matrix' elements cannot
 * be reached otherwise: as many columns at a time as fit beside each other where `keys` scores do. Neighbouring lanes share row `row`, and each, `half`
 * of them, owns every other run of 8 columns. All of a workgroup's threads are to come by.
 */
export function accumulatorRows ({ headDim, keys, pitch }: Pick<MmaRowsShape, 'headDim' | 'keys'> & { readonly pitch: number }) {
  const depthTiles = headDim / 16
  const at = (run: number, part: number): string => `row * ${pitch}u + ${4 * run + part}u + half * 2u`
  const tilesAtOnce = Math.min(depthTiles, keys / 16)
  const rounds = Array.from({ length: Math.ceil(depthTiles / tilesAtOnce) }, (_, round) =>
    Array.from({ length: Math.min(tilesAtOnce, depthTiles - round * tilesAtOnce) }, (_, n) => round * tilesAtOnce + n))
  const store = (round: readonly number[]): string => round.map((d, n) => `subgroupMatrixStore<row_major>(&scores, my_scores + ${4 * n}u, out_${d}, ${pitch}u);`).join('\n')
  const load = (round: readonly number[]): string => round.map((d, n) => `out_${d} = subgroupMatrixLoad<subgroup_matrix_result<f32, 16, 16>, row_major>(&scores, my_scores + ${4 * n}u, ${pitch}u);`).join('\n')
  return {
    /** Brings rows down to `keep` of what they are. The last of it may still be read from `scores` when this ends. */
    scale: (): string => rounds.map(round => `
        workgroupBarrier();
        ${store(round)}
        workgroupBarrier();
        ${unroll(round.length, c => unroll(2, n => `scores[my_scores + ${at(c, n)}] *= keep;`))}
        workgroupBarrier();
        ${load(round)}`).join('\n'),
    /** Reads rows out, 16 columns and two vectors of the lane's at a time. @param use of vectors that `value(0)` and `value(1)` name, columns 16 · `tile` + 8 · half and on */
    readOut: (condition: string, use: (tile: number, value: (n: number) => string) => string): string => rounds.map(round => `
  workgroupBarrier();
  ${store(round)}
  workgroupBarrier();
  if (${condition}) {
    ${round.map((tile, c) => use(tile, n => `scores[my_scores + ${at(c, n)}]`)).join('\n')}
  }`).join('\n')
  }
}

/**
 * The statements of kernels whose 16 queries a subgroup are the rows of its tiles, from scores in workgroup memory to weights beside them: the
 * softmax of attention-mma.ts. Lanes share rows as in `accumulatorRows`, each with every other run of 8 of its row's scores. The kernel has `scores`,
 * `weights`, `my_scores`, `my_weights`, `exceeded`, `reference`, `sum` and accumulators `out_0` and on.
 */
export function mmaRows ({ headDim, keys, capped }: MmaRowsShape) {
  const perLane = keys / 16
  const at = (run: number, part: number): string => `row * ${scorePitch(keys)}u + ${4 * run + part}u + half * 2u`
  const { scale, readOut } = accumulatorRows({ headDim, keys, pitch: scorePitch(keys) })
  return {
    /** Weighs the scores of keys in [unseen, visible), both counted from the first at hand. */
    weigh: ({ number, isLater }: MmaRowsTurn): string => `
    var top = LOWEST;
    ${unroll(perLane, c => unroll(2, n => `var p_${c}_${n} = scores[my_scores + ${at(c, n)}];
    ${capped ? `p_${c}_${n} = capped(p_${c}_${n});` : ''}
    p_${c}_${n} = seen(p_${c}_${n}, ${16 * c + 4 * n}u + half * 8u, unseen, visible);
    top = max(top, max(max(p_${c}_${n}.x, p_${c}_${n}.y), max(p_${c}_${n}.z, p_${c}_${n}.w)));`))}
    if (subgroupAny(top > reference + HEADROOM)) { atomicStore(&exceeded, ${number}); }
    if (workgroupUniformLoad(&exceeded) == ${number}) {
      // Rare after the first keys: raise the references that are exceeded, and bring what has been summed down to them.
      top = max(top, subgroupShuffleXor(top, 1u));
      let raised = select(reference, top, top > reference + HEADROOM);
      let keep = select(exp(reference - raised), 1.0, raised == reference);
      reference = raised;
      sum *= keep;
      if (${isLater}) {
        ${scale()}
      }
    }
    ${unroll(perLane, c => `{
      let p_0 = exp(p_${c}_0 - reference);
      let p_1 = exp(p_${c}_1 - reference);
      sum += ((p_0.x + p_0.y) + (p_0.z + p_0.w)) + ((p_1.x + p_1.y) + (p_1.z + p_1.w));
      weights[my_weights + row * ${weightPitch(keys)}u + ${2 * c}u + half] = vec4<u32>(pack2x16float(p_0.xy), pack2x16float(p_0.zw), pack2x16float(p_1.xy), pack2x16float(p_1.zw));
    }`)}`,
    readOut
  }
}
