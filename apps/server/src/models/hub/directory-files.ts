/** Which files of a repository make a model directory in Hugging Face's layout, and what a directory lacks to be one. */
import { z } from 'zod'

const SINGLE_FILE = 'model.safetensors'
export const SHARD_INDEX = 'model.safetensors.index.json'
const REQUIRED = ['config.json', 'tokenizer.json']
const OPTIONAL = ['generation_config.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json']

export interface DirectoryFiles {
  /** Without these the weights are of no use: they come first. */
  readonly texts: readonly string[]
  /** `model.safetensors`, or undefined: the shards that `model.safetensors.index.json` (among the texts) names. */
  readonly weights: string | undefined
}

/** From the names in a repository's root; `problem` says in words what it lacks. Copies of the weights in other formats are left alone. */
export function directoryFiles (names: ReadonlySet<string>): DirectoryFiles | { readonly problem: string } {
  const weights = names.has(SINGLE_FILE) ? SINGLE_FILE : undefined
  if (weights === undefined && !names.has(SHARD_INDEX)) return { problem: `it has neither ${SINGLE_FILE} nor ${SHARD_INDEX}${insteadOf(names)}` }
  const missing = REQUIRED.find(name => !names.has(name))
  if (missing !== undefined) {
    const model = missing === 'tokenizer.json' && names.has('tokenizer.model')
    return { problem: `it has no ${missing}${model ? ' (tokenizer.model alone does not do: save the fast tokenizer with transformers, or take a converted copy of the model)' : ''}` }
  }
  const texts = [...REQUIRED, ...OPTIONAL.filter(name => names.has(name)), ...(weights === undefined ? [SHARD_INDEX] : [])]
  return { texts, weights }
}

const shardIndex = z.looseObject({ weight_map: z.record(z.string(), z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors$/)) })

/** The files a shard index names, each once; undefined when it is no index. */
export function shardsOf (index: string): string[] | undefined {
  try {
    return [...new Set(Object.values(shardIndex.parse(JSON.parse(index)).weight_map))]
  } catch {
    return undefined
  }
}

/** What of a whole model's files is not in a directory; empty when all is there. */
export async function missingFiles (names: ReadonlySet<string>, read: (name: string) => Promise<string>): Promise<string[]> {
  const missing = REQUIRED.filter(name => !names.has(name))
  if (names.has(SINGLE_FILE)) return missing
  if (!names.has(SHARD_INDEX)) return [...missing, SINGLE_FILE]
  const shards = shardsOf(await read(SHARD_INDEX).catch(() => ''))
  return shards === undefined ? [...missing, SHARD_INDEX] : [...missing, ...shards.filter(name => !names.has(name))]
}

function insteadOf (names: ReadonlySet<string>): string {
  const others = [...names].filter(name => /\.(bin|pt|pth|ckpt|h5|msgpack|onnx|safetensors)$/.test(name)).slice(0, 4)
  if (others.length === 0) return ''
  const pickled = others.some(name => /\.(bin|pt|pth|ckpt)$/.test(name))
  return `, only ${others.join(', ')}${pickled ? '. Files of that kind can carry code and are not read: look for a safetensors version or convert it' : ''}`
}
