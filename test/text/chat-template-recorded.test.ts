import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import t from 'tap'
import { z } from 'zod'
import { ChatTemplateRunner } from '../../apps/server/src/text/chat-template.ts'
import { ChatTemplateError, neighbouringWorkers } from '../../apps/server/src/text/index.ts'

const folder = new URL('../fixtures/chat-templates/', import.meta.url)
const read = (name: string): unknown => JSON.parse(readFileSync(new URL(name, folder), 'utf8'))

const templates = z.record(z.string(), z.object({
  file: z.string().optional(), package: z.string().optional(), bosToken: z.string().nullable(), eosToken: z.string().nullable(),
})).parse(read('templates.json'))

const toolCall = z.object({ id: z.string(), type: z.literal('function'), function: z.object({ name: z.string(), arguments: z.string() }) })
const conversations = z.array(z.object({
  name: z.string(),
  messages: z.array(z.looseObject({ role: z.string(), content: z.string(), name: z.string().exactOptional(), tool_calls: z.array(toolCall).exactOptional(), tool_call_id: z.string().exactOptional() })),
  tools: z.array(z.unknown()).exactOptional(),
  documents: z.array(z.record(z.string(), z.string())).exactOptional(),
  kwargs: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).default({}),
  addGenerationPrompt: z.boolean().default(true),
  continueFinalMessage: z.boolean().default(false),
})).parse(read('conversations.json'))

const recorded = z.object({
  transformers: z.string(),
  now: z.tuple([z.int(), z.int(), z.int(), z.int(), z.int(), z.int()]),
  templateSha256: z.record(z.string(), z.string()),
  renderings: z.array(z.object({ template: z.string(), case: z.string(), text: z.string().optional(), error: z.string().optional() })),
}).parse(read('recorded-chat-templates.json'))

/** The template's text, or undefined where its package is not installed. */
function templateText (entry: { readonly file?: string | undefined, readonly package?: string | undefined }): string | undefined {
  if (entry.file !== undefined) return readFileSync(new URL(entry.file, folder), 'utf8')
  try {
    const path = createRequire(import.meta.url).resolve(entry.package ?? '')
    return z.object({ chat_template: z.string() }).parse(JSON.parse(readFileSync(path, 'utf8'))).chat_template
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND') return undefined
    throw error
  }
}

for (const [name, entry] of Object.entries(templates)) {
  const template = templateText(entry)
  const skip = template === undefined ? `its template comes with ${entry.package}, which is not installed` : false
  t.test(`${name} renders every conversation as transformers ${recorded.transformers} does`, { skip }, async t => {
    const source = template ?? ''
    t.equal(createHash('sha256').update(source).digest('hex'), recorded.templateSha256[name], 'the recording is of this template')
    const [year, month, ...time] = recorded.now
    const runner = new ChatTemplateRunner({
      tokenizer: { added_tokens: [], model: {} },
      config: { bos_token: entry.bosToken, eos_token: entry.eosToken },
      vocabSize: undefined,
      eosTokenIds: [],
      chatTemplateFile: source,
    }, {
      worker: neighbouringWorkers().chatTemplate,
      timeoutMs: 10_000,
      maxThreads: 1,
      maxWaiting: 1000,
      maxHeapMiB: 64,
      maxCharacters: 1_000_000,
      now: () => new Date(year, month - 1, ...time),
    })
    t.teardown(async () => { await runner.close() })

    const renderings = recorded.renderings.filter(rendering => rendering.template === name)
    const expected = conversations.filter(conversation => renderings.some(rendering => rendering.case === conversation.name))
    t.ok(renderings.length > 0 && expected.length === renderings.length, 'each recorded case has its conversation')
    for (const rendering of renderings) {
      const conversation = expected.find(candidate => candidate.name === rendering.case)
      if (conversation === undefined) continue
      const { messages, kwargs, addGenerationPrompt, continueFinalMessage, tools, documents } = conversation
      const text = runner.render(messages, {
        addGenerationPrompt, continueFinalMessage, variables: kwargs, ...(tools !== undefined && { tools }), ...(documents !== undefined && { documents }),
      })
      if (rendering.text === undefined) await t.rejects(text, ChatTemplateError, `${rendering.case}: ${rendering.error}`)
      else t.equal(await text, rendering.text, rendering.case)
    }
  })
}

t.test('every conversation is in the recording', async t => {
  const cases = new Set(recorded.renderings.map(rendering => rendering.case))
  t.strictSame(conversations.filter(({ name }) => !cases.has(name)).map(({ name }) => name), [])
})
