export { openGguf } from './open-gguf.ts'
export type { GgufModel } from './open-gguf.ts'
