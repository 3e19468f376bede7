import type { TokenId } from '@daybreak/kvcache'
import type { TextService } from '../text/index.ts'
import { END, type EvalDocument } from './document.ts'
import { SeededStream } from './seeded-stream.ts'
import { fillerStory } from './tasks/filler-prose.ts'

/** One answer to be given: the whole conversation before it, with the true earlier answers. */
export interface Question {
  readonly prompt: readonly TokenId[]
  readonly answer: string
  /** Of the answer and the end token behind it. */
  readonly answerTokens: number
}

const asWritten = { addSpecialTokens: false } as const

/** A document's questions in order; those whose answer would end beyond `maxTokens` are left out. */
export async function questionsOf (document: EvalDocument, text: TextService, maxTokens: number): Promise<Question[]> {
  const end = await text.encode(END, asWritten)
  let conversation = await text.encode(document.prefix, asWritten)
  const questions: Question[] = []
  for (const turn of document.turns) {
    const prompt = [...conversation, ...await text.encode(turn.context, asWritten)]
    const answer = await text.encode(turn.answer, asWritten)
    conversation = [...prompt, ...answer, ...end]
    if (conversation.length > maxTokens) break
    questions.push({ prompt, answer: turn.answer, answerTokens: answer.length + end.length })
  }
  return questions
}

/** How many characters of the needle task's filler make a token, measured over fifty stories; a little less, so that documents fit. */
export async function fillerCharactersPerToken (text: TextService): Promise<number> {
  const random = new SeededStream('filler')
  const stories = Array.from({ length: 50 }, () => `${fillerStory(random)}\n`)
  const tokens = await Promise.all(stories.map(async story => await text.encode(story, asWritten)))
  return 0.98 * stories.join('').length / tokens.flat().length
}
