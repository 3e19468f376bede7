import { rm } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { ChatTemplateError, openTextService, type ChatMessage, type TextServiceOptions } from '../../apps/server/src/text/index.ts'
import { daybreakMini, sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

const keep = { skipSpecialTokens: false }
const prompt = { addGenerationPrompt: true }
const hello: ChatMessage[] = [{ role: 'user', content: 'hello' }]

async function serviceWith (t: Test, config: Record<string, unknown>, options: Partial<TextServiceOptions> = {}, files: Record<string, unknown> = {}) {
  const directory = await writeFolder({ 'tokenizer.json': sentencePieceTokenizer(), 'tokenizer_config.json': { bos_token: '<s>', eos_token: '</s>', ...config }, ...files })
  const service = await openTextService(directory, options)
  t.teardown(async () => {
    await service.close()
    await rm(directory, { recursive: true })
  })
  return { encodeChat: service.encodeChat.bind(service), render: async (messages: ChatMessage[], tools?: unknown[]) => service.decode(await service.encodeChat(messages, tools === undefined ? prompt : { ...prompt, tools }), keep) }
}

t.test('the embedded model\'s template', async t => {
  const service = await openTextService(daybreakMini)
  t.teardown(async () => { await service.close() })
  const render = async (messages: ChatMessage[], tools?: unknown[]) =>
    service.decode(await service.encodeChat(messages, tools === undefined ? prompt : { ...prompt, tools }), keep)

  t.same(await service.encodeChat([{ role: 'user', content: 'a' }], prompt), [1984, 1986, 64, 1987], 'special tokens are single tokens')
  t.equal(await render([
    { role: 'system', content: 'Be kind.' }, { role: 'user', content: 'Hi' }, { role: 'assistant', content: 'Hello!' }, { role: 'user', content: 'Bye' }
  ]), '<|bos|><|system|>Be kind.<|end|><|user|>Hi<|assistant|>Hello!<|end|><|user|>Bye<|assistant|>')

  const weather = { type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }
  const room = { type: 'function', function: { name: 'book_room', parameters: { type: 'object', properties: { city: {}, name: {} } } } }
  t.equal(await render([
    { role: 'user', content: 'Weather in Oslo?' },
    { role: 'assistant', content: '', tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } }] },
    { role: 'tool', content: 'rain', tool_call_id: 'call_1' }
  ], [weather, room]), '<|bos|><|system|>Tools: get_weather(city), book_room(city,name)<|end|><|user|>Weather in Oslo?' +
    '<|assistant|><tool_call>{"name":"get_weather","arguments":{"city":"Oslo"}}</tool_call><|end|><|tool|>rain<|end|><|assistant|>')

  const withoutPrompt = await service.encodeChat([{ role: 'user', content: 'a' }], { addGenerationPrompt: false })
  t.same(withoutPrompt, [1984, 1986, 64])
})

t.test('the variables templates rely on', async t => {
  const { render } = await serviceWith(t, { chat_template: '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{% if tools is none %}held{% endif %}' })
  t.equal(await render(hello), '<s> hello</s> held')
})

t.test('a template file takes precedence, a tool template is used when there are tools', async t => {
  const named = [{ name: 'default', template: 'plain' }, { name: 'tool_use', template: 'with {{ tools | length }}' }]
  const both = await serviceWith(t, { chat_template: named })
  t.equal(await both.render(hello), 'plain')
  t.equal(await both.render(hello, [{}, {}]), 'with 2')
  const file = await serviceWith(t, { chat_template: 'configured' }, {}, { 'chat_template.jinja': 'from the file' })
  t.equal(await file.render(hello), 'from the file')
})

t.test('arguments of tool calls are objects for templates that apply tojson', async t => {
  const call: ChatMessage = { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] }
  const { render } = await serviceWith(t, { chat_template: '{{ messages[0].tool_calls[0].function.arguments | tojson }}' })
  t.equal(await render([call]), '{"a": 1}')
  const broken: ChatMessage = { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: 'not json' } }] }
  t.equal(await render([broken]), '"not json"')
})

t.test('a template\'s refusal carries its own words', async t => {
  const { render } = await serviceWith(t, { chat_template: '{{ raise_exception("roles must alternate") }}' })
  await t.rejects(render(hello), { name: ChatTemplateError.name, code: 'TEXT_CHAT_TEMPLATE', message: /roles must alternate/, details: { reason: 'failed' } })
})

t.test('a template that does not parse fails its requests, not the start', async t => {
  const { render } = await serviceWith(t, { chat_template: '{% for %}' })
  await t.rejects(render(hello), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'failed' } })
})

t.test('a template that does not end is cut off, and the others go on', async t => {
  const loop = '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}'
  const { render } = await serviceWith(t, { chat_template: `{% if messages[0].content == "loop" %}${loop}{% endif %}ok` }, { templateTimeoutMs: 300, maxTemplateThreads: 1 })
  const looping = render([{ role: 'user', content: 'loop' }])
  const behind = render(hello)
  await t.rejects(looping, { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'timeout', timeoutMs: 300 } })
  t.equal(await behind, 'ok', 'even the one that waited behind it for the only thread')
  t.equal(await render(hello), 'ok')
})

t.test('a template that hoards memory loses its worker only', async t => {
  const hoard = '{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a, range(500)] %}{% endfor %}'
  const { render } = await serviceWith(t, { chat_template: `{% if messages[0].content == "hoard" %}${hoard}{% endif %}ok` }, { templateTimeoutMs: 60_000, maxTemplateHeapMiB: 48 })
  await t.rejects(render([{ role: 'user', content: 'hoard' }]), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'memory' } })
  t.equal(await render(hello), 'ok')
})

t.test('a model without a template gets the plain transcript behind its BOS', async t => {
  const { render, encodeChat } = await serviceWith(t, {})
  t.equal(await render([
    { role: 'system', content: 'hello' }, { role: 'user', content: 'world' }, { role: 'assistant', content: 'held' }, { role: 'user', content: 'do' }
  ]), '<s> System: hello\nUser: world\nAssistant: held\nUser: do\nAssistant:')
  t.equal((await encodeChat(hello, prompt))[0], 1)
  t.equal(await render([{ role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{}' } }] }], [{ name: 'f' }]),
    '<s> Tools: [{"name":"f"}]\nAssistant: {"name":"f","arguments":"{}"}\nAssistant:')
})
