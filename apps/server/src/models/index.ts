export { ModelNotFoundError, ModelVerificationError } from './errors.ts'
export { BUILT_IN_MODELS, DEFAULT_MODEL, resolveModel, type ResolvedModel, type ResolveModelOptions } from './resolve-model.ts'
export { verifyModelFiles } from './verify-model-files.ts'
