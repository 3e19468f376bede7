export * from './block.ts'
