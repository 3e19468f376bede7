import { z } from 'zod'

const KiB = 1024
const MiB = 1024 * KiB

/**
 * Settings of the HTTP and WebSocket surface. Every field has a default, so `httpConfigSchema.parse({})` is a whole
 * configuration; the command line derives a flag and a `DAYBREAK_…` variable from each, with `describe` as its help.
 */
export const httpConfigSchema = z.strictObject({
  // The first is the model's name in the list, in metrics and for requests that name none; each answers under the name asked for.
  servedModelNames: z.array(z.string().min(1).max(256)).max(16).default([])
    .describe('Names the model answers to, the main one first; its own keeps working'),
  // A prompt of 128k tokens is about 600 KB of English; four times that in escaped JSON still fits.
  bodyLimitBytes: z.int().min(KiB).max(256 * MiB).default(4 * MiB)
    .describe('Largest request body, in bytes'),
  // OpenAI accepts header blocks below 64 KiB; an unbounded one was CVE-2025-48956 elsewhere.
  headerLimitBytes: z.int().min(4 * KiB).max(MiB).default(64 * KiB)
    .describe('Largest block of request headers, in bytes'),
  // Tool definitions nest by a dozen levels; templates recurse over them.
  maxJsonDepth: z.int().min(8).max(256).default(32)
    .describe('Deepest nesting of arrays and objects in a request body'),
  // Each choice costs a sequence; an unbounded n was CVE-2026-34756 elsewhere.
  maxChoices: z.int().min(1).max(128).default(8)
    .describe('Most choices (n) of one prompt'),
  // Each prompt of a completions request is queued by itself and counts against the queue.
  maxPrompts: z.int().min(1).max(1024).default(64)
    .describe('Most prompts in one completions request'),
  // OpenAI takes 4; every stop string costs one automaton step per character.
  maxStopStrings: z.int().min(1).max(256).default(16)
    .describe('Most stop strings of one request'),
  // The engine's own bound on entries per sequence.
  maxLogitBias: z.int().min(0).max(1024).default(1024)
    .describe('Most logit_bias entries of one request'),
  // More messages than any conversation that fits a context; bounds the template's loop.
  maxMessages: z.int().min(1).max(65536).default(4096)
    .describe('Most messages of one chat request'),
  maxTools: z.int().min(0).max(1024).default(128)
    .describe('Most tool definitions of one chat request'),
  // Retrieved passages come by the dozen.
  maxDocuments: z.int().min(0).max(1024).default(64)
    .describe('Most documents in one chat'),
  // A string among them can put words into the system message, so only what templates are known to ask for.
  allowedTemplateKwargs: z.array(z.string().max(64).regex(/^[a-z]\w*$/i).refine(name => !isReserved(name), 'belongs to the server'))
    .max(64).default(['enable_thinking', 'thinking', 'thinking_budget', 'reasoning_effort', 'keep_past_thinking', 'preserve_thinking', 'clear_thinking', 'date_string', 'tools_in_user_message'])
    .describe('Variables of the chat template that requests may set (chat_template_kwargs)'),
  // As Hugging Face's templates and vLLM have it; who does not trust the callers with the prompt's form chooses the other.
  specialTokensInMessages: z.enum(['parse', 'escape']).default('parse')
    .describe("What the name of a special token is in a chat's messages and tools: that token (parse), or letters, so that callers cannot forge turns (escape)"),
  // OpenAI's own limits.
  maxFileBytes: z.int().min(KiB).max(64 * 1024 * MiB).default(200 * MiB)
    .describe('Largest uploaded file, in bytes'),
  maxBatchLines: z.int().min(1).max(10_000_000).default(50_000)
    .describe('Most requests of one batch'),
  // Each one's lines are in memory, and each one's prefixes ask for KV blocks; few enough that a prefix has more than one request at a time.
  maxRunningBatches: z.int().min(1).max(64).default(4)
    .describe('Batches that are answered at the same time, each with an equal share of the engine; others wait for one to end'),
  // 4 bytes of memory each, for each of the batches that run until it is grouped; a batch beyond it is grouped in parts.
  batchGroupTokens: z.int().min(1).max(2 ** 30).default(64 * MiB)
    .describe('Prompt tokens of a batch that are searched together for beginnings they share'),
  // Proxies cut idle streams after 30 to 60 s, undici after 300 s.
  keepAliveSeconds: z.number().min(0.01).max(300).default(10)
    .describe('Longest silence on a stream before a keep-alive comment, in seconds'),
  // Enough for seconds of text at any reading speed, small enough that a thousand stalled readers cost 64 MB. Node itself
  // does not look below 16 KiB.
  slowReaderBytes: z.int().min(16 * KiB).max(64 * MiB).default(64 * KiB)
    .describe('Unread bytes of one stream that pause its generation'),
  // A paused request keeps its KV blocks: a reader that never comes back must not.
  slowReaderSeconds: z.number().min(0.1).max(3600).default(120)
    .describe('Longest time a stream may stay paused for its reader before it is aborted, in seconds'),
  // The SDKs give up after 10 minutes by default; a longer generation is legitimate, an endless one is not.
  requestTimeoutSeconds: z.number().min(0.1).max(86400).default(3600)
    .describe('Longest time one request may take from arrival to its last token, in seconds'),
  // Time for a client to deliver headers and body; stops slow-loris senders, and lets through large files on slow lines.
  receiveTimeoutSeconds: z.number().min(1).max(3600).default(60)
    .describe('Longest time a client may take to send a request, in seconds; every 16 KiB of a body that have come give it another one'),
  // Above the 60 s after which common balancers drop idle upstream connections, so that they close first.
  idleConnectionSeconds: z.number().min(1).max(3600).default(75)
    .describe('How long an idle keep-alive connection stays open, in seconds'),
  // A frame holds one request, so it is as large as a body may be.
  socketFrameLimitBytes: z.int().min(KiB).max(256 * MiB).default(4 * MiB)
    .describe('Largest WebSocket frame, in bytes'),
  // A batch client multiplexes; beyond this it should open another socket.
  socketMaxInFlight: z.int().min(1).max(4096).default(64)
    .describe('Most unfinished requests on one WebSocket'),
  // Two missed pongs end a dead connection in a minute.
  socketPingSeconds: z.number().min(0.01).max(3600).default(30)
    .describe('Time between WebSocket pings, in seconds'),
  // Gateways scrape every 50 ms; the text is rendered at most that often.
  metricsCacheSeconds: z.number().min(0).max(60).default(0.05)
    .describe('How long a rendered /metrics text is reused, in seconds'),
  // Off: a page on another origin must not spend this machine's GPU, which listens on loopback by default.
  corsOrigins: z.array(z.string().min(1).max(512)).max(64).default([])
    .describe('Origins whose pages may call the server from a browser (also over WebSocket); * allows all'),
})

/** What the server gives every chat template itself. */
function isReserved (name: string): boolean {
  return /^(messages|tools|documents|add_generation_prompt|continue_final_message|.*_token|raise_exception|strftime_now)$/.test(name)
}

export type HttpConfig = Readonly<z.infer<typeof httpConfigSchema>>

/** What the server serves, and under which names. */
export interface ServedModel {
  readonly id: string
  /** Unix seconds. */
  readonly created: number
  readonly ownedBy: string
  readonly aliases?: readonly string[]
}
