import type { NormConfig } from './model-config.ts'

/** Names of a family's tensors; those of a layer are below its prefix and lack `.weight` and `.bias`. */
export interface TensorNames {
  /** Before every name of the body: `model.`. */
  readonly prefix: string
  readonly head: string
  readonly attention: {
    readonly query: string
    readonly key: string
    readonly value: string
    /** One projection holding queries, keys and values, stacked in this order. */
    readonly fused?: string
    readonly output: string
    readonly queryNorm: string
    readonly keyNorm: string
  }
  readonly norms: {
    readonly beforeAttention?: string
    readonly afterAttention?: string
    readonly beforeMlp?: string
    readonly afterMlp?: string
  }
  readonly mlp: {
    readonly gate: string
    readonly up: string
    /** One projection holding gate and up rows. */
    readonly fused?: string
    readonly down: string
  }
  readonly experts?: {
    readonly router: string
    readonly gate: (expert: number) => string
    readonly up: (expert: number) => string
    readonly down: (expert: number) => string
  }
  /** Tensors of a checkpoint that play no part in generating text: another modality's encoder. */
  readonly ignored?: RegExp
}

/** What most families call theirs, by where their norms stand. */
export function llamaNames (placement: NormConfig['placement'] = 'before'): TensorNames {
  return {
    prefix: 'model.',
    head: 'lm_head',
    attention: {
      query: 'self_attn.q_proj',
      key: 'self_attn.k_proj',
      value: 'self_attn.v_proj',
      output: 'self_attn.o_proj',
      queryNorm: 'self_attn.q_norm',
      keyNorm: 'self_attn.k_norm'
    },
    norms: NORMS[placement],
    mlp: { gate: 'mlp.gate_proj', up: 'mlp.up_proj', down: 'mlp.down_proj' }
  }
}

const NORMS: Readonly<Record<NormConfig['placement'], TensorNames['norms']>> = {
  before: { beforeAttention: 'input_layernorm', beforeMlp: 'post_attention_layernorm' },
  after: { afterAttention: 'post_attention_layernorm', afterMlp: 'post_feedforward_layernorm' },
  around: {
    beforeAttention: 'input_layernorm',
    afterAttention: 'post_attention_layernorm',
    beforeMlp: 'pre_feedforward_layernorm',
    afterMlp: 'post_feedforward_layernorm'
  }
}
