export { EvalRequestError, UnknownTaskError } from './errors.ts'
export { registerEvalCommand } from './eval-command.ts'
export type { EvalReport, TaskResult } from './report.ts'
export { evaluate, runEval, type EvalOptions, type EvalProgress } from './run-eval.ts'
