import { F16_TO_F32_BITS } from '../half-float.ts'

/** The value of each binary16 bit pattern. */
export const F16_VALUES: Readonly<Float32Array> = new Float32Array(Uint32Array.from(F16_TO_F32_BITS).buffer)
