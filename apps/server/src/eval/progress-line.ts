import type { OutputStream } from '../cli/command-context.ts'
import type { EvalProgress } from './run-eval.ts'

const WIDTH = 30

/** One line of a terminal, rewritten with every document; silent where there is no terminal. Returns what to call at the end. */
export function progressLine (stream: OutputStream): { update: (progress: EvalProgress) => void, clear: () => void } {
  if (stream.isTTY !== true) return { update: () => {}, clear: () => {} }
  return {
    update: ({ task, done, total }) => {
      const filled = Math.round(WIDTH * done / total)
      stream.write(`\r${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${done}/${total} ${task}\u001b[K`)
    },
    clear: () => { stream.write('\r\u001b[K') }
  }
}
