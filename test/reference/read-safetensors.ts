import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { bfloat16FromBits, float16FromBits } from './float16.ts'

const Header = z.record(z.string(), z.object({
  dtype: z.enum(['F32', 'F16', 'BF16']),
  shape: z.array(z.number().int()),
  data_offsets: z.tuple([z.number().int(), z.number().int()])
}))

/** Tensors by name, widened to f32 without loss, flattened in row-major order. */
export type Weights = ReadonlyMap<string, Float32Array>

/** Reads one safetensors file whole. For trusted test models: nothing is checked beyond the header's form. */
export function readSafetensors (path: string): Weights {
  const file = readFileSync(path)
  const headerLength = Number(file.readBigUInt64LE(0))
  const dataStart = 8 + headerLength
  const { __metadata__: _, ...tensors } = z.record(z.string(), z.unknown())
    .parse(JSON.parse(file.toString('utf8', 8, dataStart)))
  const halves = { F16: halfTable(float16FromBits), BF16: halfTable(bfloat16FromBits) }
  return new Map(Object.entries(Header.parse(tensors)).map(([name, { dtype, data_offsets: [begin, end] }]) => {
    const bytes = new DataView(file.buffer, file.byteOffset + dataStart + begin, end - begin)
    return [name, dtype === 'F32' ? readF32(bytes) : readHalves(bytes, halves[dtype])]
  }))
}

function readF32 (bytes: DataView): Float32Array {
  return Float32Array.from({ length: bytes.byteLength / 4 }, (_, i) => bytes.getFloat32(4 * i, true))
}

function readHalves (bytes: DataView, values: Float32Array): Float32Array {
  const out = new Float32Array(bytes.byteLength / 2)
  for (let i = 0; i < out.length; i++) out[i] = values[bytes.getUint16(2 * i, true)] ?? NaN
  return out
}

/** The value of every 16-bit pattern: a model has millions of weights and only these to look up. */
function halfTable (fromBits: (bits: number) => number): Float32Array {
  return Float32Array.from({ length: 65536 }, (_, bits) => fromBits(bits))
}
