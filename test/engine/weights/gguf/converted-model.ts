import { decoderTensors } from '../../../../packages/engine/src/models/decoder-tensors.ts'
import { parseModelConfig } from '../../../../packages/engine/src/models/parse-model-config.ts'
import { listTensors } from '../../../../packages/engine/src/models/tensor-list.ts'
import { randomBelow } from '../random-below.ts'
import { f32, text, u32 } from './write-gguf.ts'
import type { WrittenTensor, WrittenValue } from './write-gguf.ts'

export interface StoredTensor { readonly shape: readonly number[], readonly values: Float32Array }

/** A model as Hugging Face has it: its config.json and its tensors. */
export interface HuggingFaceModel { readonly config: Readonly<Record<string, unknown>>, readonly tensors: ReadonlyMap<string, StoredTensor> }

/** How the converter treats one architecture. */
export interface Conversion {
  readonly architecture: string
  readonly permutes?: boolean
  readonly addsOne?: boolean
  /** `apart` is how the first mixtures were written: a tensor for each expert. */
  readonly experts?: 'stacked' | 'apart'
}

/** Small sizes with grouped queries and, where asked for, heads that are not the hidden size's share. */
export const TINY = {
  vocab_size: 24,
  hidden_size: 16,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 2 ** -17,
  rope_theta: 500_000,
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2
} as const

/** Every tensor the configuration asks for, with values of a few bits: adding one to them, or storing them as halves, is exact. */
export function huggingFaceModel (config: Readonly<Record<string, unknown>>): HuggingFaceModel {
  const below = randomBelow(20_261_123)
  const specs = listTensors(decoderTensors(parseModelConfig(config)))
  return {
    config,
    tensors: new Map(specs.map(({ name, shape }) => [name, { shape, values: Float32Array.from({ length: sizeOf(shape) }, () => below(256) / 64 - 2) }]))
  }
}

/** The metadata every architecture has. */
export function metadataOf (architecture: string, config: Readonly<Record<string, unknown>>): ReadonlyArray<readonly [string, WrittenValue]> {
  const integers = [
    ['context_length', 'max_position_embeddings'], ['embedding_length', 'hidden_size'], ['block_count', 'num_hidden_layers'],
    ['feed_forward_length', 'intermediate_size'], ['attention.head_count', 'num_attention_heads'], ['attention.head_count_kv', 'num_key_value_heads'],
    ['attention.key_length', 'head_dim'], ['attention.value_length', 'head_dim'], ['attention.sliding_window', 'sliding_window'],
    ['expert_count', 'num_local_experts'], ['expert_count', 'num_experts'], ['expert_used_count', 'num_experts_per_tok'],
    ['expert_feed_forward_length', 'moe_intermediate_size']
  ] as const
  return [
    ['general.architecture', text(architecture)],
    ...integers.flatMap(([key, field]): ReadonlyArray<readonly [string, WrittenValue]> => {
      const value = config[field]
      return typeof value === 'number' ? [[`${architecture}.${key}`, u32(value)]] : []
    }),
    [`${architecture}.attention.layer_norm_rms_epsilon`, f32(Number(config['rms_norm_eps']))],
    [`${architecture}.rope.freq_base`, f32(Number(config['rope_theta']))],
    ['tokenizer.ggml.bos_token_id', u32(Number(config['bos_token_id']))],
    ['tokenizer.ggml.eos_token_id', u32(Number(config['eos_token_id']))]
  ]
}

/** The model's tensors as llama.cpp's converter writes them. */
export function convertedTensors ({ config, tensors }: HuggingFaceModel, { architecture, permutes = false, addsOne = false, experts = 'stacked' }: Conversion): readonly WrittenTensor[] {
  const stacks = new Map<string, StoredTensor[]>()
  const written: WrittenTensor[] = []
  for (const [name, tensor] of tensors) {
    const { ggufName, expert } = ggufNameOf(name, architecture)
    if (expert !== undefined && experts === 'stacked') {
      const stack = stacks.get(ggufName) ?? []
      stack[expert] = tensor
      stacks.set(ggufName, stack)
      continue
    }
    const heads = Number(config[ggufName.includes('attn_q') ? 'num_attention_heads' : 'num_key_value_heads'])
    const isPermuted = permutes && /\.attn_[qk]\.(weight|bias)$/.test(ggufName)
    const values = isPermuted ? permuted(tensor, heads) : addsOne && name.endsWith('norm.weight') ? tensor.values.map(value => value + 1) : tensor.values
    written.push(writtenTensor(expert === undefined ? ggufName : ggufName.replace('_exps', '').replace('.weight', `.${expert}.weight`), { shape: tensor.shape, values }))
  }
  for (const [name, stack] of stacks) {
    const [rows = 0, columns = 0] = stack[0]?.shape ?? []
    written.push(writtenTensor(name, { shape: [stack.length, rows, columns], values: Float32Array.from(stack.flatMap(({ values }) => [...values])) }))
  }
  return written
}

function writtenTensor (name: string, { shape, values }: StoredTensor): WrittenTensor {
  return { name, type: 0, dimensions: [...shape].reverse(), bytes: new Uint8Array(Float32Array.from(values).buffer) }
}

/** reshape(heads, 2, half, …).swapaxes(1, 2): pair j, i of a head's halves becomes i, j. */
function permuted ({ shape: [numRows = 0, rowLength = 1], values }: StoredTensor, heads: number): Float32Array {
  const half = numRows / heads / 2
  const result = new Float32Array(values.length)
  for (let head = 0; head < heads; head++) {
    for (let j = 0; j < 2; j++) {
      for (let i = 0; i < half; i++) {
        const [from, to] = [(head * 2 + j) * half + i, (head * half + i) * 2 + j]
        result.set(values.subarray(from * rowLength, (from + 1) * rowLength), to * rowLength)
      }
    }
  }
  return result
}

const LAYER_NAMES: ReadonlyArray<readonly [RegExp, string]> = [
  [/^self_attn\.([qkv])_proj$/, 'attn_$1'],
  [/^self_attn\.qkv_proj$/, 'attn_qkv'],
  [/^self_attn\.o_proj$/, 'attn_output'],
  [/^self_attn\.([qk])_norm$/, 'attn_$1_norm'],
  [/^input_layernorm$/, 'attn_norm'],
  [/^pre_feedforward_layernorm$/, 'ffn_norm'],
  [/^post_feedforward_layernorm$/, 'post_ffw_norm'],
  [/^mlp\.gate_up_proj$/, 'ffn_up'],
  [/^mlp\.(gate|up|down)_proj$/, 'ffn_$1'],
  [/^(?:mlp|block_sparse_moe)\.gate$/, 'ffn_gate_inp'],
  [/^mlp\.experts\.\d+\.(gate|up|down)_proj$/, 'ffn_$1_exps'],
  [/^block_sparse_moe\.experts\.\d+\.w1$/, 'ffn_gate_exps'],
  [/^block_sparse_moe\.experts\.\d+\.w2$/, 'ffn_down_exps'],
  [/^block_sparse_moe\.experts\.\d+\.w3$/, 'ffn_up_exps']
]

function ggufNameOf (name: string, architecture: string): { readonly ggufName: string, readonly expert: number | undefined } {
  const whole = new Map([['model.embed_tokens.weight', 'token_embd.weight'], ['model.norm.weight', 'output_norm.weight'], ['lm_head.weight', 'output.weight']]).get(name)
  if (whole !== undefined) return { ggufName: whole, expert: undefined }
  const [, layer = '', part = '', kind = ''] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? []
  // The one name that stands for two things: the norm after attention, where there is one, else the one before the MLP.
  const isAfterAttention = ['gemma2', 'gemma3', 'olmo2'].includes(architecture)
  const rules = [...LAYER_NAMES, [/^post_attention_layernorm$/, isAfterAttention ? 'post_attention_norm' : 'ffn_norm'] as const]
  const rule = rules.find(([pattern]) => pattern.test(part))
  if (rule === undefined) throw new Error(`no GGUF name for ${name}`)
  const expert = /experts\.(\d+)\./.exec(part)?.[1]
  return { ggufName: `blk.${layer}.${part.replace(...rule)}.${kind}`, expert: expert === undefined ? undefined : Number(expert) }
}

function sizeOf (shape: readonly number[]): number {
  return shape.reduce((size, dimension) => size * dimension, 1)
}
