/** The name or path given for a model leads nowhere. The message lists what works. */
export class ModelNotFoundError extends Error {
  override readonly name = 'ModelNotFoundError'
  readonly code = 'MODEL_NOT_FOUND'
  readonly details: { readonly model: string; readonly problem: string; readonly builtIn: readonly string[]; readonly aliases: readonly string[] }

  constructor (details: ModelNotFoundError['details'], options?: ErrorOptions) {
    const aliases = details.aliases.length === 0 ? '' : `a model that is downloaded by a short name (${details.aliases.join(', ')}), `
    super(`model ${JSON.stringify(details.model)}: ${details.problem}. What works: a built-in name (${details.builtIn.join(', ')}), ${aliases}` +
      'owner/name of a model on the Hugging Face Hub (owner/name@revision; owner/name:QUANT of a GGUF one), ' +
      'the path of a directory with config.json, tokenizer.json and *.safetensors, or that of a .gguf file', options)
    this.details = details
  }
}

/** A file of a model is not the one its hashes.json describes: cut short, changed or missing. */
export class ModelVerificationError extends Error {
  override readonly name = 'ModelVerificationError'
  readonly code = 'MODEL_FILE_CORRUPT'
  readonly details: { readonly file: string; readonly problem: string }

  constructor (details: ModelVerificationError['details'], options?: ErrorOptions) {
    super(`${details.file}: ${details.problem}`, options)
    this.details = details
  }
}
