/** Where a model's files are: a directory in Hugging Face's layout, or a GGUF file (of a split one, the first part). Absolute. */
export interface ModelSource {
  readonly type: 'directory' | 'gguf'
  readonly path: string
}
