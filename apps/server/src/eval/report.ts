import Table from 'cli-table3'

export interface TaskResult {
  readonly task: string
  readonly documents: number
  readonly answers: number
  readonly correct: number
  /** `correct / answers`; 0 when nothing was asked. */
  readonly exact: number
  /** Wilson's 95 % interval of `exact`. */
  readonly interval: readonly [low: number, high: number]
}

export interface EvalReport {
  readonly target: string
  readonly seed: number
  readonly seconds: number
  readonly tasks: readonly TaskResult[]
}

/** Rates recorded with a model: gauge.json's `{ "lines_2048": { "exact", "answers" } }`. */
export type RecordedRates = ReadonlyMap<string, number>

export function taskResult (task: string, documents: number, answers: number, correct: number): TaskResult {
  return { task, documents, answers, correct, exact: answers === 0 ? 0 : correct / answers, interval: wilsonInterval(correct, answers) }
}

/**
 * The 95 % score interval of a rate (Wilson 1927). Unlike the plain ± of the normal approximation it says something about rates of 0
 * and 1, which most of these are. Without answers it is everything, 0 to 1.
 */
export function wilsonInterval (successes: number, trials: number): [low: number, high: number] {
  if (trials === 0) return [0, 1]
  const z = 1.959964
  const rate = successes / trials
  const shrink = 1 + z * z / trials
  const centre = (rate + z * z / (2 * trials)) / shrink
  const reach = z * Math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrink
  // The bounds meet 0 and 1 exactly there, but for rounding.
  return [successes === 0 ? 0 : centre - reach, successes === trials ? 1 : centre + reach]
}

/** The report for eyes. `recorded` adds a column of what the model's own card claims. */
export function formatReport (report: EvalReport, recorded: RecordedRates): string {
  const head = ['task', 'exact', '95 % interval', 'correct', 'answers', ...(recorded.size === 0 ? [] : ['recorded'])]
  const table = new Table({ head, colAligns: ['left', ...head.slice(1).map(() => 'right' as const)], style: { head: [], border: [] } })
  for (const { task, exact, interval: [low, high], correct, answers } of report.tasks) {
    const claimed = recorded.get(task)
    table.push([
      task, percent(exact), `${percent(low)} to ${percent(high)}`, correct, answers,
      ...(recorded.size === 0 ? [] : [claimed === undefined ? '' : percent(claimed)])
    ])
  }
  return `${report.target}, seed ${report.seed}, ${report.seconds.toFixed(1)} s\n${table.toString()}\n`
}

const percent = (rate: number) => `${(100 * rate).toFixed(1)} %`
