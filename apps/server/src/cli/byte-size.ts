const UNITS: Readonly<Record<string, number>> = {
  '': 1, B: 1, K: 1024, KIB: 1024, KB: 1e3, M: 1024 ** 2, MIB: 1024 ** 2, MB: 1e6, G: 1024 ** 3, GIB: 1024 ** 3, GB: 1e9, T: 1024 ** 4, TIB: 1024 ** 4, TB: 1e12
}

/** `2GiB`, `512 MiB`, `1.5GB` or a plain count, in bytes; undefined when it is none of them. */
export function parseByteSize (text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = UNITS[match?.[2]?.toUpperCase() ?? '']
  if (match?.[1] === undefined || unit === undefined) return undefined
  const bytes = Math.floor(Number(match[1]) * unit)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** With the largest binary unit that leaves at least one: `1.5 GiB`. */
export function formatByteSize (bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)))
  const value = bytes / 1024 ** power
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`
}
