import type { BatchRunResult } from './run-batch.ts'

export interface PlottedRun extends Pick<BatchRunResult, 'policy' | 'stepTokens'> {
  /** Which of several batches; empty where there is one. */
  readonly name: string
}

const WIDTH = 960
const ROW_HEIGHT = 160
const MARGIN = 48
/** Steps are averaged into so many columns: one pixel each tells no more. */
const COLUMNS = 400

/** Tokens per step over a run, a row for each policy on one scale of steps, as an SVG document. */
export function stepPlot (runs: readonly PlottedRun[], budget: number): string {
  const longest = Math.max(1, ...runs.map(({ stepTokens }) => stepTokens.length))
  const plotWidth = WIDTH - 2 * MARGIN
  const plotHeight = ROW_HEIGHT - MARGIN
  const rows = runs.map(({ name, policy, stepTokens }, row) => {
    const top = row * ROW_HEIGHT + MARGIN / 2
    const columns = Math.min(COLUMNS, stepTokens.length)
    const points = Array.from({ length: columns }, (_, column) => {
      const from = Math.floor(column * stepTokens.length / columns)
      const some = stepTokens.slice(from, Math.max(from + 1, Math.floor((column + 1) * stepTokens.length / columns)))
      const mean = some.reduce((sum, tokens) => sum + tokens, 0) / some.length
      return `${(MARGIN + plotWidth * (from + some.length / 2) / longest).toFixed(1)},${(top + plotHeight * (1 - mean / budget)).toFixed(1)}`
    })
    return [
      `<text x="${MARGIN}" y="${top - 6}">${name === '' ? policy : `${name}, ${policy}`}: ${stepTokens.length} steps</text>`,
      `<rect x="${MARGIN}" y="${top}" width="${plotWidth}" height="${plotHeight}" fill="none" stroke="#ccc"/>`,
      `<text x="${MARGIN - 6}" y="${top + 10}" text-anchor="end">${budget}</text><text x="${MARGIN - 6}" y="${top + plotHeight}" text-anchor="end">0</text>`,
      `<polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points="${points.join(' ')}"/>`
    ].join('\n')
  })
  const height = runs.length * ROW_HEIGHT + MARGIN / 2
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    ...rows,
    `<text x="${WIDTH / 2}" y="${height - 6}" text-anchor="middle">tokens per step, by step</text>`,
    '</svg>',
    ''
  ].join('\n')
}
