/** Tokens of each continuation that are compared. */
export const NUM_TOKENS = 32

/**
 * Four texts to go on with and four questions in TinyLlama's chat format. Written down before either engine had seen them and kept
 * as they were, near ties and all.
 */
export const PROMPTS: readonly string[] = [
  'Once upon a time, in a village by the sea,',
  'The capital of France is',
  'def fibonacci(n):\n',
  'Photosynthesis is the process by which',
  question('Write a haiku about autumn.'),
  question('How do I boil an egg?'),
  question('Explain in one sentence what a GPU is.'),
  question('Translate into French: The weather is nice today.')
]

function question (text: string): string {
  return `<|user|>\n${text}</s>\n<|assistant|>\n`
}
