import { unroll } from '../unroll.ts'
import type { MmaRowsShape } from './attention-mma-rows.ts'

/** Vectors of four scores between a subgroup's rows: as few as keep eight rows of a matrix in different banks of workgroup memory. */
export function groupScorePitch (keys: number): number {
  return keys / 4 + 1
}

/**
 * Statements that weigh the scores of keys in [unseen, visible), both counted from the first at hand: attention-mma.ts's softmax for kernels in which
 * a subgroup goes ahead by itself, without a barrier. Neighbouring lanes share row `row`, and each, `half` of them, owns every other tile of 16 of its scores.
 * A row whose reference is raised has its sum brought down here and its accumulators later: `keep` is their share, and `exceeded` says that some row
 * has one, provided that there are any (`isLater`). It is raised to `number`, above zero and of these keys' own.
 *
 * The kernel has `scores`, `weights`, `my_scores`, `my_weights`, `reference`, `sum` and `keep`, which is one.
 */
export function weighGroupRows ({ keys, capped }: Omit<MmaRowsShape, 'headDim'>, weightPitch: number, number: string, isLater: string): string {
  const own = Array.from({ length: keys / 32 }, (_, c) => c)
  const vectors = own.flatMap(c => [0, 1, 2, 3].map(n => ({ c, n, name: `p_${c}_${n}` })))
  return `
      ${vectors.map(({ c, n, name }) => `var ${name} = scores[my_scores + row * ${groupScorePitch(keys)}u + ${8 * c + n}u + half * 4u];`).join('\n')}
      ${capped ? vectors.map(({ name }) => `${name} = capped(${name});`).join('\n') : ''}
      // Without a window all are visible but in the last stage.
      if (WINDOW > 0u || visible < ${keys}u) {
        ${vectors.map(({ c, n, name }) => `${name} = seen(${name}, ${32 * c + 4 * n}u + half * 16u, unseen, visible);`).join('\n')}
      }
      var top = LOWEST;
      ${vectors.map(({ name }) => `top = max(top, max(max(${name}.x, ${name}.y), max(${name}.z, ${name}.w)));`).join('\n')}
      top = max(top, subgroupShuffleXor(top, 1u));
      if (top > reference + HEADROOM) {
        // Rare after the first keys. Both of a row's lanes come here.
        keep = exp(reference - top);
        reference = top;
        sum *= keep;
        if (${isLater}) { atomicStore(&exceeded, ${number}); }
      }
      ${own.map(c => `{
        ${unroll(4, n => `let e_${n} = exp(p_${c}_${n} - reference);`)}
        sum += ${[0, 1].map(m => `(${[2 * m, 2 * m + 1].map(n => `((e_${n}.x + e_${n}.y) + (e_${n}.z + e_${n}.w))`).join(' + ')})`).join(' + ')};
        ${unroll(2, m => `weights[my_weights + row * ${weightPitch}u + ${4 * c + m}u + half * 2u] = vec4<u32>(${[2 * m, 2 * m + 1].map(n => `pack2x16float(e_${n}.xy), pack2x16float(e_${n}.zw)`).join(', ')});`)}
      }`).join('\n')}`
}
