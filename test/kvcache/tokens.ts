import { sequenceId } from '@daybreak/kvcache'
import type { SequenceId, TokenId } from '@daybreak/kvcache'

export const seq = (name: string): SequenceId => sequenceId(name)

/** `count` different tokens that no other `stream` has. */
export function someTokens (count: number, stream = 0): TokenId[] {
  return Array.from({ length: count }, (_, i) => stream * 10_000 + i)
}
