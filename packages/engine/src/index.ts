export * from './contract.ts'
export * from './engine.ts'
