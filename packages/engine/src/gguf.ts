/** What a GGUF file says of itself, for who needs no engine: its vocabulary and chat template are the server's to read. */
export { FileSource } from './weights/byte-source.ts'
export { readGgufHeader } from './weights/gguf/header.ts'
export type { GgufHeader } from './weights/gguf/header.ts'
export type { GgufNumbers, GgufValue } from './weights/gguf/metadata-value.ts'
