import t from 'tap'
import { httpConfigSchema } from '../../apps/server/src/http-config.ts'
import { says } from '../fakes/fake-generation-service.ts'
import { aServer, userSays, type ServerUnderTest } from './server-under-test.ts'

const chat = '/v1/chat/completions'
const messages = userSays('Hi')
const conversation = [...messages, { role: 'assistant', content: 'One, ' }]

async function promptOf (server: ServerUnderTest, body: object): Promise<string> {
  const { tokens } = await (await server.post('/tokenize', body)).json() as { tokens: number[] }
  return Buffer.from(tokens).toString()
}

t.test('both endpoints give the chat template what the request says', async t => {
  const server = await aServer(t, { script: says('x') })
  const documents = [{ title: 'One', text: 'first' }]
  const asked = { messages, chat_template_kwargs: { enable_thinking: false, reasoning_effort: 'low', thinking_budget: 128, date_string: null }, documents }
  for (const path of [chat, '/tokenize']) {
    t.equal((await server.post(path, asked)).status, 200)
    t.match(server.text.seenChats.at(-1), { addGenerationPrompt: true, continueFinalMessage: false, variables: asked.chat_template_kwargs, documents })
    t.equal((await server.post(path, { messages, chat_template_kwargs: {} })).status, 200)
    t.strictSame(server.text.seenChats.at(-1)?.variables, {})
    t.equal((await server.post(path, { messages })).status, 200)
    t.equal(server.text.seenChats.at(-1)?.variables, undefined)
    t.equal(server.text.seenChats.at(-1)?.documents, undefined)
  }
})

t.test('a final message is continued, by itself or without a generation prompt', async t => {
  const server = await aServer(t, { script: says('two') })
  t.equal(await promptOf(server, { messages: conversation }), 'user: Hi\nassistant: One, \nassistant: ')
  t.equal(await promptOf(server, { messages: conversation, continue_final_message: true }), 'user: Hi\nassistant: One, ')
  t.equal(await promptOf(server, { messages: conversation, continue_final_message: true, add_generation_prompt: false }), 'user: Hi\nassistant: One, ')
  t.equal(await promptOf(server, { messages: conversation, continue_final_message: false, add_generation_prompt: false }), 'user: Hi\nassistant: One, \n')
  const answer = await server.post(chat, { messages: conversation, continue_final_message: true })
  t.match(await answer.json(), { choices: [{ message: { content: 'two' } }] })
  t.match(server.text.seenChats.at(-1), { addGenerationPrompt: false, continueFinalMessage: true })
})

t.test('what a chat template may not be given is refused by name, with what it may', async t => {
  const server = await aServer(t, { script: says('x'), config: { allowedTemplateKwargs: ['enable_thinking', 'tone'] } })
  const rows: ReadonlyArray<readonly [body: object, code: string, param: string, message: RegExp]> = [
    [{ chat_template_kwargs: { bos_token: '<s>' } }, 'unsupported_parameter', 'chat_template_kwargs.bos_token', /enable_thinking, tone/],
    [{ chat_template_kwargs: { messages: 'x' } }, 'unsupported_parameter', 'chat_template_kwargs.messages', /enable_thinking, tone/],
    [{ chat_template_kwargs: { enable_thinking: true, constructor: 1 } }, 'unsupported_parameter', 'chat_template_kwargs.constructor', /enable_thinking, tone/],
    [{ chat_template_kwargs: { enable_thinking: ['x'] } }, 'invalid_value', 'chat_template_kwargs.enable_thinking', /boolean, a number, null or a string/],
    [{ chat_template_kwargs: { tone: {} } }, 'invalid_value', 'chat_template_kwargs.tone', /boolean, a number, null or a string/],
    [{ chat_template_kwargs: { tone: 'x'.repeat(1025) } }, 'invalid_value', 'chat_template_kwargs.tone', /1024 characters/],
    [{ chat_template_kwargs: 'tone' }, 'invalid_type', 'chat_template_kwargs', /record|object/],
    [{ continue_final_message: true, add_generation_prompt: true }, 'invalid_value', 'continue_final_message', /add_generation_prompt/],
    [{ continue_final_message: 'yes' }, 'invalid_type', 'continue_final_message', /boolean/],
    [{ documents: 'x' }, 'invalid_type', 'documents', /array/],
    [{ documents: [{ title: 7 }] }, 'invalid_type', 'documents[0].title', /string/],
    [{ documents: Array.from({ length: 65 }, () => ({})) }, 'invalid_value', 'documents', /64/],
  ]
  for (const path of [chat, '/tokenize']) {
    for (const [body, code, param, message] of rows) {
      const response = await server.post(path, { messages: conversation, ...body })
      t.match(await response.json(), { error: { code, param, message } }, `${path} ${param} ${code}`)
      t.equal(response.status, 400)
    }
    t.equal((await server.post(path, { messages, chat_template_kwargs: { tone: 'x'.repeat(1024) } })).status, 200)
    t.equal((await server.post(path, { messages, documents: Array.from({ length: 64 }, () => ({})) })).status, 200)
  }
  const refused = await server.post(chat, { messages, chat_template: '{{ 1 }}' })
  t.match(await refused.json(), { error: { code: 'unsupported_parameter', param: 'chat_template' } })
  t.equal(server.generation.streams.length, 2, 'only those that were answered')
})

t.test('a server that allows no variables says so', async t => {
  const server = await aServer(t, { config: { allowedTemplateKwargs: [] } })
  const response = await server.post('/tokenize', { messages, chat_template_kwargs: { enable_thinking: true } })
  t.match(await response.json(), { error: { param: 'chat_template_kwargs.enable_thinking', message: /gives its chat template nothing/ } })
})

t.test('variables that are the server\'s own cannot be allowed', async t => {
  for (const name of ['messages', 'tools', 'documents', 'add_generation_prompt', 'bos_token', 'eos_token', 'strftime_now', 'raise_exception', '_x', 'a-b', '']) {
    t.notOk(httpConfigSchema.safeParse({ allowedTemplateKwargs: [name] }).success, name)
  }
  t.ok(httpConfigSchema.safeParse({ allowedTemplateKwargs: ['enable_thinking', 'myTone2'] }).success)
})

t.test('the OpenAPI document has the parameters and what they allow', async t => {
  const server = await aServer(t, { config: { allowedTemplateKwargs: ['tone'] } })
  interface Document { readonly paths: Readonly<Record<string, { readonly post: { readonly requestBody: { readonly content: Readonly<Record<string, { readonly schema: { readonly properties: Readonly<Record<string, object>> } }>> } } }>> }
  const { paths } = await (await fetch(`${server.url}/openapi.json`)).json() as Document
  for (const path of [chat, '/tokenize']) {
    const properties = paths[path]?.post.requestBody.content['application/json']?.schema.properties
    t.match(JSON.stringify(properties?.['chat_template_kwargs']), /gives it tone/)
    t.match(JSON.stringify(properties?.['chat_template_kwargs']), /"boolean","number","string","null"/)
    t.match(JSON.stringify(properties?.['documents']), /"maxItems":64/)
    t.ok(properties?.['continue_final_message'] !== undefined && properties['add_generation_prompt'] !== undefined)
  }
})
