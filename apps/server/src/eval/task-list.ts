import type { EvalDocument } from './document.ts'
import { UnknownTaskError } from './errors.ts'
import type { SeededStream } from './seeded-stream.ts'
import { arithmetic } from './tasks/arithmetic.ts'
import { extract } from './tasks/extract.ts'
import { lines } from './tasks/lines.ts'
import { memory } from './tasks/memory.ts'
import { needle } from './tasks/needle.ts'
import { string } from './tasks/string.ts'
import { talk } from './tasks/talk.ts'
import { tool } from './tasks/tool.ts'

export interface EvalTask {
  /** As in the model's gauge.json: `lines_2048`, `talk`; with a depth in percent, `needle_2048_at_50`. */
  readonly name: string
  readonly numDocuments: number
  /** Documents longer than this many tokens lose their last questions. */
  readonly maxTokens: number
  readonly generate: (random: SeededStream) => EvalDocument
}

export interface TaskSelection {
  /** Families (`lines`) or names (`lines_2048`); all when empty. */
  readonly tasks: readonly string[]
  /** Documents per task; undefined: 24 of lines, 40 of needles and 200 of the others, as gauge.json was measured. */
  readonly samples: number | undefined
  /** For lines and needles; undefined: 1,024, 2,048, 4,096 and 8,192 for lines, 2,048 and 8,192 for needles. */
  readonly lengths: readonly number[] | undefined
  /** Where needles lie, 0 to 1; empty: anywhere, one to six of them. */
  readonly depths: readonly number[]
  /** No document is longer, prompt and answers together; longer lengths are left out. */
  readonly maxContext: number
  readonly charactersPerToken: number
}

const SHORT = { extract, tool, arithmetic, string, memory, talk } as const
const LINE_LENGTHS = [1024, 2048, 4096, 8192]
const NEEDLE_LENGTHS = [2048, 8192]

export const TASK_FAMILIES: readonly string[] = ['lines', 'needle', ...Object.keys(SHORT)]

/** The tasks asked for, in the order of gauge.json. @throws UnknownTaskError */
export function selectTasks (selection: TaskSelection): EvalTask[] {
  const fits = (length: number) => length <= selection.maxContext
  const families: Readonly<Record<string, readonly EvalTask[]>> = {
    lines: (selection.lengths ?? LINE_LENGTHS).filter(fits).map(length => ({
      name: `lines_${length}`,
      numDocuments: selection.samples ?? 24,
      maxTokens: length,
      generate: random => lines(random, length)
    })),
    needle: (selection.lengths ?? NEEDLE_LENGTHS).filter(fits).flatMap(length => needleTasks(length, selection)),
    ...Object.fromEntries(Object.entries(SHORT).map(([name, generate]) => [name, [{
      name, numDocuments: selection.samples ?? 200, maxTokens: selection.maxContext, generate
    }]]))
  }
  const all = Object.values(families).flat()
  if (selection.tasks.length === 0) return all
  const names = new Set(selection.tasks)
  for (const name of names) {
    if (!Object.hasOwn(families, name) && !all.some(task => task.name === name)) {
      throw new UnknownTaskError({ task: name, known: [...new Set([...Object.keys(families), ...all.map(task => task.name)])] })
    }
  }
  return Object.entries(families).flatMap(([family, tasks]) => tasks.filter(task => names.has(family) || names.has(task.name)))
}

function needleTasks (length: number, selection: TaskSelection): EvalTask[] {
  const { charactersPerToken, depths } = selection
  const shared = { numDocuments: selection.samples ?? 40, maxTokens: length }
  if (depths.length === 0) {
    return [{ ...shared, name: `needle_${length}`, generate: random => needle(random, { length, charactersPerToken }) }]
  }
  return depths.map(depth => ({
    ...shared,
    name: `needle_${length}_at_${Math.round(depth * 100)}`,
    generate: random => needle(random, { length, charactersPerToken, depth })
  }))
}
