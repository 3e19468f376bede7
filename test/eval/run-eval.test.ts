import t from 'tap'
import type { TokenId } from '@daybreak/kvcache'
import type { Answer, Answering } from '../../apps/server/src/eval/answering.ts'
import { fillerCharactersPerToken, questionsOf } from '../../apps/server/src/eval/questions.ts'
import { evaluate, type EvalProgress } from '../../apps/server/src/eval/run-eval.ts'
import { SeededStream } from '../../apps/server/src/eval/seeded-stream.ts'
import { selectTasks, type TaskSelection } from '../../apps/server/src/eval/task-list.ts'
import { openTextService } from '../../apps/server/src/text/index.ts'
import { daybreakMini } from '../text/tokenizer-folder.ts'

const everything: TaskSelection = { tasks: [], samples: undefined, lengths: undefined, depths: [], maxContext: 8192, charactersPerToken: 3 }

/** Answers from the conversation in the prompt, with a fault now and then. */
class Oracle implements Answering {
  readonly description = 'oracle'
  readonly maxModelLen: number | undefined = undefined
  readonly prompts: Array<readonly TokenId[]> = []
  inFlight = 0
  mostInFlight = 0
  readonly #reply: (prompt: readonly TokenId[], maxTokens: number) => Answer

  constructor (reply: (prompt: readonly TokenId[], maxTokens: number) => Answer) {
    this.#reply = reply
  }

  async answer (prompt: readonly TokenId[], maxTokens: number): Promise<Answer> {
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight)
    await new Promise(resolve => setImmediate(resolve))
    this.inFlight--
    this.prompts.push(prompt)
    return this.#reply(prompt, maxTokens)
  }
}

t.test('evaluation', async t => {
  const text = await openTextService(daybreakMini)
  t.teardown(async () => { await text.close() })
  const charactersPerToken = await fillerCharactersPerToken(text)
  const decode = (tokens: readonly TokenId[]) => text.decode(tokens, { skipSpecialTokens: false })

  /** Reads the number of the line asked for out of the prompt. */
  const findLine = (prompt: readonly TokenId[]): string => {
    const conversation = decode(prompt)
    const key = /What is line (\S+)\?<\|assistant\|>$/.exec(conversation)?.[1] ?? ''
    return new RegExp(`line ${key}: (\\d+)\n`).exec(conversation)?.[1] ?? ''
  }

  t.test('documents fill their length and stay inside it, question by question', async t => {
    for (const task of selectTasks({ ...everything, tasks: ['lines', 'needle'], lengths: [512, 1024, 2048, 4096], charactersPerToken })) {
      for (let number = 0; number < 6; number++) {
        const document = task.generate(new SeededStream(5, task.name, number))
        const questions = await questionsOf(document, text, task.maxTokens)
        const last = questions.at(-1)
        const length = (last?.prompt.length ?? 0) + (last?.answerTokens ?? 0)
        t.ok(length <= task.maxTokens && length > 0.7 * task.maxTokens, `${task.name}, document ${number}: ${length} tokens`)
        t.ok(questions.length >= Math.min(3, document.turns.length), `${questions.length} of ${document.turns.length} questions kept`)
      }
    }
  })

  t.test('a question comes with the true answers to the earlier ones, token for token what the whole conversation is', async t => {
    const [task] = selectTasks({ ...everything, tasks: ['memory'] })
    const document = task?.generate(new SeededStream(6)) ?? { prefix: '', turns: [] }
    const questions = await questionsOf(document, text, 8192)
    const whole = document.prefix + document.turns.map(({ context, answer }) => `${context}${answer}<|end|>`).join('')
    const tokens = await text.encode(whole, { addSpecialTokens: false })
    t.equal(questions.length, document.turns.length)
    for (const { prompt, answer, answerTokens } of questions) {
      t.same(tokens.slice(0, prompt.length), prompt)
      t.equal(decode(tokens.slice(prompt.length, prompt.length + answerTokens)), `${answer}<|end|>`)
    }
  })

  t.test('an answer counts when its text is right and it ends there', async t => {
    const lines = { tasks: ['lines'], lengths: [512], samples: 3, seed: 1 }
    const right = await evaluate(new Oracle(prompt => ({ text: findLine(prompt), ended: true })), text, lines)
    const [result] = right.tasks
    t.equal(right.tasks.length, 1)
    t.equal(result?.task, 'lines_512')
    t.equal(result?.documents, 3)
    t.ok((result?.answers ?? 0) >= 15)
    t.equal(result?.exact, 1)

    const endless = await evaluate(new Oracle(prompt => ({ text: findLine(prompt), ended: false })), text, lines)
    t.equal(endless.tasks[0]?.correct, 0, 'the right text that does not end')
    const spaced = await evaluate(new Oracle(prompt => ({ text: ` ${findLine(prompt)}`, ended: true })), text, lines)
    t.equal(spaced.tasks[0]?.correct, 0, 'a space too many')
    let asked = 0
    const half = await evaluate(new Oracle(prompt => ({ text: asked++ % 2 === 0 ? findLine(prompt) : 'x', ended: true })), text, lines)
    t.equal(half.tasks[0]?.correct, Math.ceil((result?.answers ?? 0) / 2))
  })

  t.test('there is room for the answer and its end token, no more', async t => {
    await evaluate(new Oracle((_, maxTokens) => {
      t.equal(maxTokens, 6, 'five digits and the end')
      return { text: '', ended: true }
    }), text, { tasks: ['lines'], lengths: [256], samples: 1 })
  })

  t.test('the same seed asks the same, whichever other tasks run; another seed asks something else', async t => {
    const prompts = async (options: Parameters<typeof evaluate>[2]) => {
      const oracle = new Oracle(() => ({ text: '', ended: true }))
      await evaluate(oracle, text, { samples: 4, concurrency: 1, ...options })
      return oracle.prompts
    }
    const alone = await prompts({ tasks: ['string'], seed: 3 })
    const among = await prompts({ tasks: ['arithmetic', 'string', 'extract'], seed: 3 })
    t.same(among.slice(-4), alone)
    t.notSame(await prompts({ tasks: ['string'], seed: 4 }), alone)
  })

  t.test('no more documents are under way than allowed, and progress reaches the end', async t => {
    const oracle = new Oracle(() => ({ text: '', ended: true }))
    const seen: EvalProgress[] = []
    await evaluate(oracle, text, { tasks: ['talk', 'memory'], samples: 10, concurrency: 3, onProgress: progress => { seen.push(progress) } })
    t.equal(oracle.mostInFlight, 3)
    t.equal(seen.length, 20)
    t.same(seen.at(-1), { task: 'talk', done: 20, total: 20 })
  })

  t.test('a target that fails ends the evaluation with its error and asks nothing further', async t => {
    let asked = 0
    const failing = new Oracle(() => {
      asked++
      throw new RangeError('gone')
    })
    await t.rejects(evaluate(failing, text, { tasks: ['talk'], samples: 50, concurrency: 2 }), new RangeError('gone'))
    await new Promise(resolve => setImmediate(resolve))
    t.ok(asked <= 2)
  })

  t.test('a target with a short context is asked nothing longer', async t => {
    const oracle = new Oracle(() => ({ text: '', ended: true }))
    const report = await evaluate(Object.assign(oracle, { maxModelLen: 1024 }), text, { tasks: ['lines', 'needle', 'memory'], samples: 2 })
    t.same(report.tasks.map(({ task }) => task), ['lines_1024', 'memory'])
    t.ok(oracle.prompts.every(prompt => prompt.length < 1024))
  })
})

t.test('the tasks are those of gauge.json, in its order', async t => {
  const names = (selection: Partial<TaskSelection>) => selectTasks({ ...everything, ...selection }).map(task => task.name)
  t.same(names({}), ['lines_1024', 'lines_2048', 'lines_4096', 'lines_8192', 'needle_2048', 'needle_8192', 'extract', 'tool', 'arithmetic', 'string', 'memory', 'talk'])
  t.same(selectTasks(everything).map(task => task.numDocuments), [24, 24, 24, 24, 40, 40, 200, 200, 200, 200, 200, 200])
  t.same(names({ tasks: ['talk', 'lines_2048'] }), ['lines_2048', 'talk'])
  t.same(names({ tasks: ['needle'], lengths: [2048], depths: [0, 0.5] }), ['needle_2048_at_0', 'needle_2048_at_50'])
  t.same(names({ tasks: ['lines', 'needle'], maxContext: 2048 }), ['lines_1024', 'lines_2048', 'needle_2048'])
  t.throws(() => names({ tasks: ['poetry'] }), { code: 'EVAL_UNKNOWN_TASK', details: { task: 'poetry' } })
})
