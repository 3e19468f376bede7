import { InvalidCheckpointError } from '../../errors.ts'
import { permutedRows, rowSlice } from '../tensor-views.ts'
import { rowsOf } from '../weight-tensor.ts'
import type { WeightTensor } from '../weight-tensor.ts'
import type { GgufArchitecture } from './architectures.ts'
import type { GgufTensorEntry } from './tensor-infos.ts'
import type { ModelShape } from './model-shape.ts'
import type { GgufRowReader } from './row-reader.ts'
import { shiftedValues } from './shifted-values.ts'

/** A tensor and the file it is in. */
export interface GgufPart { readonly file: string, readonly entry: GgufTensorEntry, readonly reader: GgufRowReader }

const WHOLE_MODEL = namesOf({ token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' })

const PER_LAYER = namesOf({
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_qkv: 'self_attn.qkv_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj'
})

/** Read into the configuration, or made anew from it. */
const NOT_WEIGHTS = /^(rope_freqs|rope_factors_long|rope_factors_short|blk\.\d+\.attn_rot_embd)\.weight$/

/**
 * A model's tensors as Hugging Face names and orders them: queries and keys with their halves apart, norms without the converter's
 * addition, an expert at a time. A tensor this package has no name for keeps its own.
 * @throws InvalidCheckpointError when a shape contradicts the configuration, or two tensors come to the same name
 */
export function modelTensors (parts: readonly GgufPart[], architecture: GgufArchitecture, shape: ModelShape): ReadonlyMap<string, WeightTensor> {
  const tensors = new Map<string, WeightTensor>()
  for (const part of parts) {
    if (NOT_WEIGHTS.test(part.entry.name) || architecture.ignored?.test(part.entry.name) === true) continue
    for (const tensor of translated(part, architecture, shape)) {
      if (tensors.has(tensor.name)) throw new InvalidCheckpointError(part.file, `is ${tensor.name}, as another tensor is`, { tensor: part.entry.name })
      tensors.set(tensor.name, tensor)
    }
  }
  return tensors
}

function translated (part: GgufPart, architecture: GgufArchitecture, shape: ModelShape): readonly WeightTensor[] {
  const { entry, reader } = part
  const [, layer, ggufKind, kind = ''] = /^(?:blk\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(entry.name) ?? []
  if (ggufKind === undefined) return [reader.tensor(entry, entry.name)]
  if (layer === undefined) {
    const name = WHOLE_MODEL.get(ggufKind)
    return [shiftedNorm(reader.tensor(entry, name === undefined ? entry.name : `${name}.${kind}`), ggufKind, architecture)]
  }
  const prefix = `model.layers.${layer}.`
  const expertNames = nameExperts(ggufKind, architecture)
  if (expertNames !== undefined && kind === 'weight') return expertTensors(part, expert => `${prefix}${expertNames(expert)}.${kind}`, shape.numExperts)
  const own = layerName(ggufKind, architecture)
  if (own === undefined) return [reader.tensor(entry, entry.name)]
  const tensor = reader.tensor(entry, `${prefix}${own}.${kind}`)
  if (architecture.rotates === 'adjacent' && (ggufKind === 'attn_q' || ggufKind === 'attn_k')) {
    return [withHalvesApart(part, tensor, ggufKind === 'attn_q' ? shape.numHeads : shape.numKVHeads, shape.headDim)]
  }
  return [kind === 'weight' ? shiftedNorm(tensor, ggufKind, architecture) : tensor]
}

function layerName (ggufKind: string, { mlpNorm, fusesGateAndUp, experts }: GgufArchitecture): string | undefined {
  if (ggufKind === 'ffn_norm') return mlpNorm
  if (ggufKind === 'ffn_up' && fusesGateAndUp) return 'mlp.gate_up_proj'
  if (ggufKind === 'ffn_gate_inp') return experts.router
  // As older files have experts, each by itself: ffn_gate.3.
  const [, projection, expert] = /^ffn_(gate|up|down)\.(\d+)$/.exec(ggufKind) ?? []
  if (projection === 'gate' || projection === 'up' || projection === 'down') return experts[projection](Number(expert))
  return PER_LAYER.get(ggufKind)
}

function nameExperts (ggufKind: string, { experts }: GgufArchitecture): ((expert: number) => string) | undefined {
  switch (ggufKind) {
    case 'ffn_gate_exps': return experts.gate
    case 'ffn_up_exps': return experts.up
    case 'ffn_down_exps': return experts.down
    default: return undefined
  }
}

/** The experts of a stack `[experts, rows, columns]`. */
function expertTensors ({ file, entry, reader }: GgufPart, name: (expert: number) => string, numExperts: number): readonly WeightTensor[] {
  const [count = 0, rows = 0, columns = 0] = entry.shape
  if (entry.shape.length !== 3 || count !== numExperts) {
    throw new InvalidCheckpointError(file, `has shape [${entry.shape.join(', ')}]; expected ${numExperts} experts`, { tensor: entry.name })
  }
  const stack = reader.tensor(entry, entry.name, [count * rows, columns])
  return Array.from({ length: count }, (_, expert) => rowSlice(stack, name(expert), expert * rows, rows))
}

/** In the file rows 2i and 2i + 1 of a head rotate together; in the result, rows i and i + headDim / 2. */
function withHalvesApart ({ file, entry }: GgufPart, tensor: WeightTensor, numHeads: number, headDim: number): WeightTensor {
  const { numRows } = rowsOf(tensor)
  if (numRows !== numHeads * headDim) {
    throw new InvalidCheckpointError(file, `has ${numRows} rows; ${numHeads} heads of ${headDim} have ${numHeads * headDim}`, { tensor: entry.name })
  }
  const half = headDim / 2
  return permutedRows(tensor, headDim, row => {
    const within = row % headDim
    return row - within + (within < half ? 2 * within : 2 * (within - half) + 1)
  })
}

/** By what stands between `blk.N.` and `.weight` or `.bias`. */
function namesOf (names: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(names))
}

function shiftedNorm (tensor: WeightTensor, ggufKind: string, { normShift }: GgufArchitecture): WeightTensor {
  return normShift !== 0 && ggufKind.endsWith('norm') ? shiftedValues(tensor, -normShift) : tensor
}
