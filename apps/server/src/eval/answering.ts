import type { TokenId } from '@daybreak/kvcache'

/** Whatever can be asked: a server, or an engine process of one's own. */
export interface Answering {
  /** For the report's head. */
  readonly description: string
  /** Longest prompt and answer together; undefined when it will not say. */
  readonly maxModelLen: number | undefined
  /**
   * Continues the prompt greedily for at most `maxTokens` tokens.
   * @throws EvalRequestError (rejects)
   */
  answer (prompt: readonly TokenId[], maxTokens: number): Promise<Answer>
}

export interface Answer {
  readonly text: string
  /** Whether the model ended it with its end token, rather than running into `maxTokens`. */
  readonly ended: boolean
}
