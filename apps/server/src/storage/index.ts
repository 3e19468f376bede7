export { dataFolder } from './data-folder.ts'
export { openStorage } from './open-storage.ts'
export type { Storage, StorageInUse } from './open-storage.ts'
