/**
 * What a task generator makes: one conversation with the answers that the model was trained to give. The special tokens are written by
 * name, as the embedded model's tokenizer reads them; its chat template gives the same text.
 */
export interface EvalDocument {
  /** Everything before the first question. */
  readonly prefix: string
  readonly turns: readonly EvalTurn[]
}

export interface EvalTurn {
  /** From the end of the answer before to the beginning of this one. */
  readonly context: string
  /** Without the end token that follows it. */
  readonly answer: string
}

export const BOS = '<|bos|>'
export const SYSTEM = '<|system|>'
export const USER = '<|user|>'
export const ASSISTANT = '<|assistant|>'
export const TOOL = '<|tool|>'
export const END = '<|end|>'

export const ask = (question: string, answer: string): EvalTurn => ({ context: `${USER}${question}${ASSISTANT}`, answer })

/** A conversation of one question. */
export const single = (question: string, answer: string): EvalDocument => ({ prefix: BOS, turns: [ask(question, answer)] })

/** A conversation about a document in the system message. */
export const about = (document: string, turns: readonly EvalTurn[]): EvalDocument => ({ prefix: `${BOS}${SYSTEM}${document}${END}`, turns })
