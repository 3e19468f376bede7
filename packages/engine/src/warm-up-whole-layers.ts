import { StalledLayerError } from './errors.ts'
import { longPatience, shortPatience } from './kernels/layer/layer-exchange.ts'
import type { WholeLayers } from './layers/whole-layers.ts'
import type { GpuModelRunner } from './model-runner.ts'

/** Who computes layers whole, if anybody does. */
export interface MayHaveWholeLayers { wholeLayers: Pick<WholeLayers, 'reset' | 'rows' | typeof Symbol.dispose> | undefined }

/**
 * Warms up with little patience for a wait in a whole layer. Where one is given up, workgroups that were measured to run side by side do not today, since something else has a part of
 * the GPU: whole layers are taken away and freed, and all is warmed up again.
 * @param warm warms up, with steps of so many sequences that decode together
 * @returns false where whole layers were taken away
 */
export async function warmUpWholeLayers (decoder: MayHaveWholeLayers, runner: Pick<GpuModelRunner, 'forgetRecorded'>, warm: (together: readonly number[]) => Promise<void>): Promise<boolean> {
  decoder.wholeLayers?.reset(shortPatience)
  try {
    await warm(decoder.wholeLayers?.rows ?? [])
    decoder.wholeLayers?.reset(longPatience)
    return true
  } catch (error) {
    if (!(error instanceof StalledLayerError)) throw error
    decoder.wholeLayers?.[Symbol.dispose]()
    decoder.wholeLayers = undefined
    runner.forgetRecorded()
    await warm([])
    return false
  }
}
