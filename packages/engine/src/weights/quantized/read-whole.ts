import type { CheckpointTensor } from '../checkpoint.ts'

/** All bytes of a tensor, from a multiple of 8 in their buffer on, so that any typed array can view them. */
export async function readWhole (tensor: CheckpointTensor): Promise<Uint8Array> {
  const bytes = new Uint8Array(tensor.byteLength)
  await tensor.read(bytes, 0, tensor.byteLength)
  return bytes
}

/** The 32-bit words of an I32 tensor. */
export async function readWords (tensor: CheckpointTensor): Promise<Uint32Array> {
  const bytes = await readWhole(tensor)
  return new Uint32Array(bytes.buffer, 0, bytes.byteLength / 4)
}
