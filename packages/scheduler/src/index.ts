export * from './generation.ts'
