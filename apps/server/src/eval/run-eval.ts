import type { GenerationService } from '../generation/generation-service.ts'
import type { TextService } from '../text/index.ts'
import type { Answering } from './answering.ts'
import { fillerCharactersPerToken, questionsOf } from './questions.ts'
import { taskResult, type EvalReport } from './report.ts'
import { SeededStream } from './seeded-stream.ts'
import { ServiceAnswering } from './service-answering.ts'
import { selectTasks, type EvalTask, type TaskSelection } from './task-list.ts'

export interface EvalOptions extends Omit<TaskSelection, 'charactersPerToken'> {
  readonly seed: number
  /** Documents worked on at the same time; the questions of one document are asked one after the other. */
  readonly concurrency: number
  readonly onProgress?: (progress: EvalProgress) => void
}

export interface EvalProgress {
  readonly task: string
  readonly done: number
  readonly total: number
}

export const EVAL_DEFAULTS: EvalOptions = {
  tasks: [], samples: undefined, lengths: undefined, depths: [], maxContext: 8192, seed: 0, concurrency: 8
}

/** `evaluate` for a generation service. */
export async function runEval (service: GenerationService, text: TextService, options: Partial<EvalOptions> = {}): Promise<EvalReport> {
  return await evaluate(new ServiceAnswering(service, text), text, options)
}

/**
 * Exact-match rates of the embedded model's tasks.
 *
 * Every question is asked with the true answers to the earlier ones before it, and continued greedily; it counts when text and end
 * token are exactly the expected ones. That is the same measure as gauge.json's teacher-forced one, where a single pass over the true
 * conversation is compared token by token: as long as greedy tokens agree with the answer, generation and teacher forcing see the same
 * context, and at the first that does not both have failed. (A text counts however it is cut into tokens; a model trained on one cut
 * of each answer does not give another.) The prompts of one document begin alike, so a prefix cache makes the repetition cheap.
 *
 * `text` must be the embedded model's own or one with the same special tokens.
 * @throws UnknownTaskError, EvalRequestError (rejects)
 */
export async function evaluate (target: Answering, text: TextService, options: Partial<EvalOptions> = {}): Promise<EvalReport> {
  const settings = { ...EVAL_DEFAULTS, ...options }
  const maxContext = Math.min(settings.maxContext, target.maxModelLen ?? Infinity)
  const tasks = selectTasks({ ...settings, maxContext, charactersPerToken: await fillerCharactersPerToken(text) })
  const total = tasks.reduce((sum, task) => sum + task.numDocuments, 0)
  const started = performance.now()
  const results = []
  let done = 0
  for (const task of tasks) {
    let answers = 0
    let correct = 0
    await forEachConcurrently(task.numDocuments, settings.concurrency, async number => {
      const score = await askDocument(target, text, task, new SeededStream(settings.seed, task.name, number))
      answers += score.answers
      correct += score.correct
      settings.onProgress?.({ task: task.name, done: ++done, total })
    })
    results.push(taskResult(task.name, task.numDocuments, answers, correct))
  }
  return { target: target.description, seed: settings.seed, seconds: (performance.now() - started) / 1000, tasks: results }
}

async function askDocument (target: Answering, text: TextService, task: EvalTask, random: SeededStream): Promise<{ answers: number, correct: number }> {
  const questions = await questionsOf(task.generate(random), text, task.maxTokens)
  let correct = 0
  for (const { prompt, answer, answerTokens } of questions) {
    const given = await target.answer(prompt, answerTokens)
    if (given.ended && given.text === answer) correct++
  }
  return { answers: questions.length, correct }
}

/** Runs `count` jobs, `limit` at a time. The first failure stops the others from starting, and is the one reported. */
async function forEachConcurrently (count: number, limit: number, job: (number: number) => Promise<void>): Promise<void> {
  let next = 0
  const work = async () => {
    while (next < count) {
      try {
        await job(next++)
      } catch (error) {
        next = count
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, count) }, work))
}
