import { known as nvidiaH100 } from './known/nvidia-h100-80gb-hbm3.ts'
import { known as nvidiaH200 } from './known/nvidia-h200.ts'
import type { KnownAdapter } from './known-adapter.ts'

/**
 * Adapters whose first start measures nothing, for the shapes that their tables hold. Each is a module in `known/`, written on such a card by
 * `daybreak bench kernels --save-known packages/engine/src/tuning/known/NAME.ts`, and listed here.
 */
export const knownAdapters: readonly KnownAdapter[] = [nvidiaH100, nvidiaH200]
