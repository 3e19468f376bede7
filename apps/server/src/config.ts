/**
 * Every setting of the program, by section. A flag, a `DAYBREAK_…` variable and a line of `--help` follow from each field
 * (cli/settings.ts); vLLM's names where vLLM has the same thing.
 */
import { z } from 'zod'
import { parseByteSize } from './cli/byte-size.ts'
import type { SettingsSection } from './cli/settings.ts'
import { httpConfigSchema } from './http-config.ts'
import { BUILT_IN_MODELS, DEFAULT_MODEL, MODEL_ALIASES } from './models/index.ts'

const byteSizeFrom = (least: number) => z.string().transform((text, context) => {
  const bytes = parseByteSize(text)
  if (bytes === undefined || bytes < least) {
    context.addIssue({ code: 'custom', message: 'not a size' })
    return z.NEVER
  }
  return bytes
})
const byteSize = byteSizeFrom(1)

/** `auto`, read as undefined. */
const auto = z.literal('auto').transform(() => undefined)

const listenSchema = z.strictObject({
  // Loopback: whoever wants to be reached from elsewhere should have said so.
  host: z.string().min(1).default('127.0.0.1').describe('Address to listen on'),
  port: z.int().min(0).max(65535).default(8000).describe('Port to listen on; 0 takes a free one')
})

const modelNames = [...Object.keys(BUILT_IN_MODELS), ...MODEL_ALIASES.map(({ name }) => name)]

const modelSchema = z.strictObject({
  model: z.string().min(1).default(DEFAULT_MODEL).meta({ placeholder: 'name|path' })
    .describe(`A name of Daybreak's own (${modelNames.join(', ')}); owner/name[@revision] on the Hugging Face Hub, owner/name:QUANT of a GGUF one; a .gguf file; or a directory with config.json, tokenizer.json and *.safetensors`),
  synthetic: z.string().min(1).optional().meta({ placeholder: 'shape' })
    .describe("Random weights of a named shape in place of the model's, to measure speed; the text is noise"),
  seed: z.int().min(0).max(0xffffffff).default(0).describe('Seed of synthetic weights')
})

const engineSchema = z.strictObject({
  dtype: z.enum(['auto', 'f16', 'f32']).default('auto')
    .describe('Storage of weights and KV cache; auto is f16 where the adapter computes in it'),
  adapter: z.string().min(1).optional().meta({ placeholder: 'text' })
    .describe('Part of the name of the GPU to use; without it the first real GPU, else the software adapter'),
  maxModelLen: z.union([z.int().min(1).max(16_777_216), auto]).prefault('auto').meta({ placeholder: 'tokens', allowed: 'a number of tokens from 1 on, or auto' })
    .describe("Longest sequence, prompt and output together; auto is the model's own"),
  maxNumSeqs: z.int().min(1).max(4096).default(64).meta({ placeholder: 'n' })
    .describe('Most sequences in one step'),
  maxNumBatchedTokens: z.union([z.int().min(16).max(65_536), auto]).prefault('auto')
    .meta({ placeholder: 'tokens', allowed: 'a number of tokens from 16 to 65536, or auto' })
    .describe('Most tokens computed in one step; auto is 2048, on a software adapter 256'),
  blockSize: z.union([z.literal(8), z.literal(16), z.literal(32), z.literal(64)]).default(16).meta({ placeholder: 'tokens', allowed: '8, 16, 32 or 64' })
    .describe('Tokens in one block of the KV cache'),
  kvCacheMemory: z.union([auto, byteSize]).prefault('auto').meta({ placeholder: 'size', allowed: 'a size such as 512MiB or 2GiB, or auto' })
    .describe('Memory for the KV cache; auto is as much as the limits above can use, or as the adapter grants'),
  swapSpace: z.union([auto, byteSizeFrom(0)]).prefault('auto').meta({ placeholder: 'size', allowed: 'a size such as 512MiB or 2GiB, 0, or auto' })
    .describe("Host memory for the KV blocks of preempted requests, taken at the start; 0 is none; auto is 4GiB but at most an eighth of the host's memory, and none on a software adapter, whose device memory is host memory"),
  preemptionMode: z.enum(['auto', 'swap', 'recompute']).default('auto')
    .describe('What becomes of the KV blocks of a preempted request: copied to the swap space and back, computed again, or by auto whichever is measured to be faster'),
  swapInStepBlocks: z.union([z.int().min(1).max(1_000_000_000), auto]).prefault('auto').meta({ placeholder: 'blocks', allowed: 'a number of blocks from 1 on, or auto' })
    .describe('Most blocks that one step copies back from the swap space, for which all tokens of that step wait; a request with more of them comes back in a step of its own; auto is what is measured to take as long as a step full of prompt'),
  backgroundStepTokens: z.union([z.int().min(0).max(65_536), auto]).prefault('auto').meta({ placeholder: 'tokens', allowed: 'a number of tokens, or auto' })
    .describe("Most tokens in a step of batches' work until there have been no other requests for a minute: whoever comes waits for one such step; 0 is none until then; auto is a sixteenth of the most tokens in a step"),
  backgroundRideTokens: z.int().min(0).max(65_536).default(0).meta({ placeholder: 'tokens' })
    .describe("Tokens of batches' work that ride along in every step of other requests, which takes longer for it"),
  sharedAttention: z.union([z.enum(['on', 'off']), auto]).prefault('auto').meta({ placeholder: 'on|off', allowed: 'on, off or auto' })
    .describe('Sequences that begin alike read the keys and values of that beginning once for all of them; auto is on'),
  deterministic: z.boolean().default(false)
    .describe('Only kernels that give a token the same bits whoever else is in the batch; slower on tensor cores, the same elsewhere'),
  wholeLayers: z.boolean().default(true)
    .describe('Compute a lone sequence\'s layers by several kernels each, even where one that needs the whole GPU is measured to be faster; for GPUs that others use, too'),
  prefixCaching: z.boolean().default(true)
    .describe('Compute every prompt anew, even where its beginning is still in the KV cache'),
  debugGpu: z.boolean().default(false)
    .describe("Turn on the GPU's validation and checks; slow")
})

const inspectSchema = z.strictObject({
  adapter: engineSchema.shape.adapter,
  deviceMemory: byteSize.optional().meta({ placeholder: 'size', allowed: 'a size such as 24GiB' })
    .describe('Memory that the GPU has free, which WebGPU does not tell')
})

const operationSchema = z.strictObject({
  maxQueuedRequests: z.int().min(1).max(1_000_000).default(1024).meta({ placeholder: 'n' })
    .describe('Requests that may wait to be scheduled; more are answered with 429'),
  maxQueuedTokens: z.int().min(1).max(1_000_000_000).default(1_048_576).meta({ placeholder: 'tokens' })
    .describe('Prompt tokens that may wait to be scheduled; more are answered with 429'),
  // A step of 256 prompt tokens of a 13M model on two cores takes about a second; a big model on a slow device needs more.
  stallTimeoutSeconds: z.number().min(1).max(86_400).default(60).meta({ placeholder: 'seconds' })
    .describe('Work queued and no step finished for this long: the engine process is replaced. Must exceed the longest step'),
  loadTimeoutSeconds: z.number().min(1).max(86_400).default(300).meta({ placeholder: 'seconds' })
    .describe('Longest silence of an engine process that is loading'),
  drainTimeoutSeconds: z.number().min(0).max(86_400).default(30).meta({ placeholder: 'seconds' })
    .describe('Time that unfinished requests get after SIGTERM')
})

const storageSchema = z.strictObject({
  dataDir: z.string().min(1).optional().meta({ placeholder: 'folder' })
    .describe('Where uploaded files and batches are kept, by one server at a time; without it $XDG_DATA_HOME/daybreak or ~/.local/share/daybreak. Files, results among them, stay until they are deleted (DELETE /v1/files/…) or expire (expires_after of a file, output_expires_after of a batch); of every batch a record of about 1 KB stays for good')
})

const queueSchema = z.strictObject({
  queue: z.string().min(1).optional().meta({ placeholder: 'url' })
    .describe('Redis (redis[s]://[user:password@]host[:port][/database]) over which servers of one model answer each other\'s batches; a password is better off in the variable, which no list of processes shows'),
  // Longer than any pause of a process that goes on afterwards; a worker that was killed holds its chunks for up to twice as long.
  queueLeaseSeconds: z.number().min(1).max(3600).default(30).meta({ placeholder: 'seconds' })
    .describe('Silence after which a server loses the parts of batches that it has, to others')
})

const batchSchema = z.strictObject({
  maxConcurrency: z.int().min(1).max(1_000_000).optional().meta({ placeholder: 'n' })
    .describe('Requests at a time; without it enough to keep the engine busy')
})

const logSchema = z.strictObject({
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info').describe('Least important lines to log'),
  logFormat: z.enum(['auto', 'pretty', 'json']).default('auto').describe('auto is pretty on a terminal, JSON lines otherwise')
})

export const listenSettings = { title: 'Server', schema: listenSchema } satisfies SettingsSection
export const modelSettings = { title: 'Model', schema: modelSchema } satisfies SettingsSection
export const engineSettings = { title: 'Engine', schema: engineSchema } satisfies SettingsSection
export const inspectSettings = { title: 'Device', schema: inspectSchema } satisfies SettingsSection
export const operationSettings = { title: 'Operation', schema: operationSchema } satisfies SettingsSection
export const storageSettings = { title: 'Files and batches', schema: storageSchema } satisfies SettingsSection
export const queueSettings = { title: 'Queue', schema: queueSchema } satisfies SettingsSection
export const batchSettings = { title: 'Batch', schema: batchSchema } satisfies SettingsSection
export const logSettings = { title: 'Log', schema: logSchema } satisfies SettingsSection
export const httpSettings = {
  title: 'HTTP and WebSocket',
  schema: httpConfigSchema,
  flags: { servedModelNames: 'served-model-name' }
} satisfies SettingsSection

export type ListenConfig = Readonly<z.infer<typeof listenSchema>>
export type ModelConfig = Readonly<z.infer<typeof modelSchema>>
export type EngineConfig = Readonly<z.infer<typeof engineSchema>>
export type OperationConfig = Readonly<z.infer<typeof operationSchema>>
export type StorageConfig = Readonly<z.infer<typeof storageSchema>>
export type QueueConfig = Readonly<z.infer<typeof queueSchema>>
export type LogConfig = Readonly<z.infer<typeof logSchema>>
