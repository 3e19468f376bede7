/** To three digits, as the names of models have it: `13.4M`, `1.24B`. */
export function formatCount (count: number): string {
  const units: ReadonlyArray<readonly [number, string]> = [[1e9, 'B'], [1e6, 'M'], [1e3, 'K']]
  const unit = units.find(([size]) => count >= size)
  return unit === undefined ? String(count) : `${Number((count / unit[0]).toPrecision(3))}${unit[1]}`
}
