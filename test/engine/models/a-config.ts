/** A small config.json of an architecture: 2 layers, 4 heads on 2, heads of 16. */
export function aConfig (architecture: string, change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    architectures: [architecture],
    hidden_size: 64,
    intermediate_size: 160,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    vocab_size: 512,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    ...change
  }
}
