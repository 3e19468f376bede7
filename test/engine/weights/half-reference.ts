/** The value of a binary16 bit pattern, by its definition. */
export function halfValue (bits: number): number {
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = Math.floor(bits / 1024) % 32
  const fraction = bits % 1024
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** The binary16 value nearest to `value`, ties to the even fraction, in exact double arithmetic. */
export function nearestHalf (value: number): number {
  const magnitude = Math.abs(value)
  if (!(magnitude < Infinity) || magnitude === 0) return value
  const quantum = 2 ** (Math.max(Math.floor(Math.log2(magnitude)), -14) - 10)
  const quotient = magnitude / quantum
  const below = Math.floor(quotient)
  const rest = quotient - below
  const rounded = (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below) * quantum
  return Math.sign(value) * (rounded > 65_504 ? Infinity : rounded)
}
