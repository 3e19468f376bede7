export { dequantizedTensors } from './dequantized-tensors.ts'
export { parseQuantization } from './quantization-scheme.ts'
export type { AwqScheme, GptqScheme, QuantizationScheme } from './quantization-scheme.ts'
export type { CompressedTensorsScheme } from './compressed-tensors-scheme.ts'
