/**
 * What the names in `tokenizer.ggml.pre` stand for. The expressions are those of the models' own tokenizer files; each is applied to what
 * the one before it has left, and what none matches is a piece of its own.
 */
import { refusal, type GgufVocabulary } from './vocabulary.ts'

export interface GgufPreTokenizer {
  readonly expressions: readonly string[]
  /** Words that are tokens are not merged, but taken whole. */
  readonly wholeWords: boolean
  /** Where the file does not say. */
  readonly addBos: boolean
  /** A GGUF file does not say how its tokenizer normalises; known of these families. */
  readonly normalizer?: 'NFC'
}

const CONTRACTION = '\'s|\'t|\'re|\'ve|\'m|\'ll|\'d'
const SPACES = '\\s+(?!\\S)|\\s+'
const GPT2 = `${CONTRACTION}| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|${SPACES}`
/** The pattern of cl100k and its followers, with as many digits as a number token may have. */
const words = (digits: string, letters = '\\p{L}', marks = '') =>
  `(?i:${CONTRACTION})|[^\\r\\n\\p{L}\\p{N}]?${letters}+|${digits}| ?[^\\s\\p{L}${marks}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|${SPACES}`
const QWEN2 = words('\\p{N}')
const QWEN35 = words('\\p{N}', '[\\p{L}\\p{M}]', '\\p{M}')
const LLAMA3 = words('\\p{N}{1,3}')
/** o200k's: words end where lower case is followed by upper case. */
const cased = (contraction: string, digits: string) => {
  const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
  const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
  const start = '[^\\r\\n\\p{L}\\p{N}]?'
  return `${start}${upper}*${lower}+${contraction}|${start}${upper}+${lower}*${contraction}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|${SPACES}`
}
const GPT4O = cased(`(?i:${CONTRACTION})?`, '\\p{N}{1,3}')
const TEKKEN = cased('', '\\p{N}')
const DEEPSEEK3 = [
  '\\p{N}{1,3}',
  '[一-龥぀-ゟ゠-ヿ]+',
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
]
const DEEPSEEK_CODER = ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}']
const FALCON = ['[\\p{P}$+<=>^~|`]+', GPT2, '[0-9][0-9][0-9]']
/** What llama.cpp does where a file names no pre-tokenizer. */
const DEFAULT = ['[\\p{P}$+<=>^~|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]']
const BLOOM = ' ?[^(\\s|.,!?…。，、।۔،)]+'
const BAILING = `'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|${SPACES}`
const SEED_CODER = `(?i:${CONTRACTION})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|${SPACES}`

const plain = (...expressions: string[]): GgufPreTokenizer => ({ expressions, wholeWords: false, addBos: false })
const whole = (...expressions: string[]): GgufPreTokenizer => ({ expressions, wholeWords: true, addBos: true })

const FAMILIES: ReadonlyArray<readonly [GgufPreTokenizer, readonly string[]]> = [
  [plain(...DEFAULT), ['default']],
  [plain(GPT2), ['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'trillion', 'granite-docling', 'exaone4', 'gigachat', 'a.x-4.0', 'mellum']],
  [plain('\\p{N}', GPT2), ['starcoder', 'refact', 'command-r', 'smollm', 'codeshell', 'exaone', 'minerva-7b', 'mellum2']],
  [whole(LLAMA3), ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2']],
  [plain(LLAMA3), ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe']],
  [{ ...plain(QWEN2), normalizer: 'NFC' }, ['qwen2']],
  [{ ...plain(QWEN35), normalizer: 'NFC' }, ['qwen35']],
  [plain(QWEN2), ['deepseek-r1-qwen', 'stablelm2', 'hunyuan', 'megrez', 'kormo', 'f2llmv2', 'solar-open', 'grok-2']],
  [plain(GPT4O), ['gpt-4o', 'llama4', 'kanana2', 'minimax-m2']],
  [whole(TEKKEN), ['tekken']],
  [plain(...DEEPSEEK3), ['deepseek-v3', 'hunyuan-dense', 'joyai-llm']],
  [plain(...DEEPSEEK_CODER), ['deepseek-coder']],
  [plain(...FALCON), ['falcon']],
  [plain(BLOOM), ['bloom', 'gpt3-finnish', 'poro-chat']],
  [plain(BLOOM, '\\p{N}'), ['viking']],
  [plain(BAILING), ['bailingmoe', 'bailingmoe2', 'llada-moe']],
  [plain(SEED_CODER), ['seed-coder']]
]

/** @throws ModelFileError for a name that is not known; files without a name get what llama.cpp gives them. */
export function preTokenizerOf ({ preTokenizer: name = 'default', source }: GgufVocabulary): GgufPreTokenizer {
  const family = FAMILIES.find(([, names]) => names.includes(name))
  if (family === undefined) {
    const known = FAMILIES.flatMap(([, names]) => names).join(', ')
    throw refusal(source, `its pre-tokenizer is ${JSON.stringify(name)}, which is not known; these are: ${known}`)
  }
  return family[0]
}
