export type { CachedModel } from './cached-model.ts'
export { carryOut, ModelInUseError, NotCachedError, planDeletion, type Deletion } from './delete-cached-model.ts'
export { listCachedModels, type CacheFolders } from './list-cached-models.ts'
export { kernelCacheFolder, modelCacheFolder } from './model-cache-folder.ts'
