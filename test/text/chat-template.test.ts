import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ChatTemplateError, openTextService, type ChatMessage } from '../../apps/server/src/text/index.ts'
import { hello, keep, prompt, serviceWith } from './template-service.ts'
import { daybreakMini, sentencePieceTokenizer, writeFolder } from './tokenizer-folder.ts'

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

t.test('the template of a processor goes before the configuration\'s and behind a file of its own', async t => {
  const json = { 'chat_template.json': { chat_template: 'the processor\'s' } }
  const processor = await serviceWith(t, { chat_template: 'configured' }, {}, json)
  t.equal(await processor.render(hello), 'the processor\'s')
  const alone = await serviceWith(t, {}, {}, json)
  t.equal(await alone.render(hello), 'the processor\'s')
  const both = await serviceWith(t, { chat_template: 'configured' }, {}, { ...json, 'chat_template.jinja': 'from the file' })
  t.equal(await both.render(hello), 'from the file')
  for (const damaged of [{}, { chat_template: 7 }, '{"chat_template"']) {
    const directory = await writeFolder({ 'tokenizer.json': sentencePieceTokenizer(), 'chat_template.json': damaged })
    t.teardown(async () => { await rm(directory, { recursive: true }) })
    await t.rejects(openTextService(directory), { name: 'ModelFileError', details: { file: join(directory, 'chat_template.json') } })
  }
})

t.test('arguments of tool calls are objects for templates that apply tojson', async t => {
  const call: ChatMessage = { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{"a":1}' } }] }
  const { render } = await serviceWith(t, { chat_template: '{{ messages[0].tool_calls[0].function.arguments | tojson }}' })
  t.equal(await render([call]), '{"a": 1}')
  const broken: ChatMessage = { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: 'not json' } }] }
  t.equal(await render([broken]), '"not json"')
})

t.test('numbers in the arguments of tool calls stay as they are written', async t => {
  const numbers = '{"a":1.0,"b":[12345678901234567890,1e3,-0.5e-7],"c":"1.0 \\"2.0\\"","1.0":null}'
  const call: ChatMessage = { role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: numbers } }] }
  const { render } = await serviceWith(t, { chat_template: '{{ messages[0].tool_calls[0].function.arguments | tojson }}' })
  t.equal(await render([call]), '{"a": 1.0, "b": [12345678901234567890, 1000.0, -5e-08], "c": "1.0 \\"2.0\\"", "1.0": null}')
})

t.test('variables of a request reach the template, and replace none of the server\'s', async t => {
  const { encodeChat, decode } = await serviceWith(t, { chat_template: '{{ enable_thinking }} {{ bos_token }}{{ messages | length }}{{ documents[0].text }}{{ add_generation_prompt }}' })
  const variables = { enable_thinking: false, bos_token: 'x', messages: 'x', documents: 'x', add_generation_prompt: false }
  t.equal(decode(await encodeChat(hello, { ...prompt, variables, documents: [{ text: 'held' }] })), 'False <s> 1heldTrue')
})

t.test('line ends of a template file made on Windows are line ends', async t => {
  const { render } = await serviceWith(t, { chat_template: '{% for message in messages %}\r\n{{ message.content }}\r\n{% endfor %}\r\nend\r\n' })
  t.equal(await render(hello), 'hello\nend')
})

t.test('a final message is continued where its text ends', async t => {
  const ended = '{% for message in messages %}<{{ message.role }}>{{ message.content }}!{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}'
  const { encodeChat, decode } = await serviceWith(t, { chat_template: ended })
  const open = { addGenerationPrompt: false, continueFinalMessage: true }
  const messages = [...hello, { role: 'assistant', content: 'or ' }]
  t.equal(decode(await encodeChat(messages, open)), '<user>hello!<assistant>or')
  await t.rejects(encodeChat(messages, { ...open, addGenerationPrompt: true }), { code: 'TEXT_CHAT_TEMPLATE', message: /open another/ })
  const hides = await serviceWith(t, { chat_template: '{{ messages[0].content }}' })
  await t.rejects(hides.encodeChat(messages, open), { code: 'TEXT_CHAT_TEMPLATE', message: /does not show its text/ })
  const changes = await serviceWith(t, { chat_template: '{{ messages[1].content | upper }}' })
  await t.rejects(changes.encodeChat(messages, open), { code: 'TEXT_CHAT_TEMPLATE', message: /does not show its text/ })
})

t.test('a template that cannot be read, and templates without one for every chat, say so', async t => {
  const broken = await serviceWith(t, { chat_template: '{% if %}' })
  await t.rejects(broken.render(hello), { code: 'TEXT_CHAT_TEMPLATE', message: /the model's chat template cannot be read: / })
  const named = await serviceWith(t, { chat_template: [{ name: 'tool_use', template: 'held' }] })
  t.equal(await named.render(hello, [{}]), 'held')
  await t.rejects(named.render(hello), { code: 'TEXT_CHAT_TEMPLATE', message: /no chat template that is called default, only tool_use/ })
})

t.test('a template\'s refusal carries its own words', async t => {
  const { render } = await serviceWith(t, { chat_template: '{{ raise_exception("roles must alternate") }}' })
  await t.rejects(render(hello), { name: ChatTemplateError.name, code: 'TEXT_CHAT_TEMPLATE', message: /roles must alternate/, details: { reason: 'failed' } })
})

t.test('a template that does not parse fails its requests, not the start', async t => {
  const { render } = await serviceWith(t, { chat_template: '{% for %}' })
  await t.rejects(render(hello), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'failed' } })
})

t.test('a model without a template gets the plain transcript behind its BOS', async t => {
  const { render, encodeChat, decode } = await serviceWith(t, {})
  t.equal(await render([
    { role: 'system', content: 'hello' }, { role: 'user', content: 'world' }, { role: 'assistant', content: 'held' }, { role: 'user', content: 'do' }
  ]), '<s> System: hello\nUser: world\nAssistant: held\nUser: do\nAssistant:')
  t.equal((await encodeChat(hello, prompt))[0], 1)
  t.equal(await render([{ role: 'assistant', content: '', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{}' } }] }], [{ name: 'f' }]),
    '<s> Tools: [{"name":"f"}]\nAssistant: {"name":"f","arguments":"{}"}\nAssistant:')
  const continued = await encodeChat([...hello, { role: 'assistant', content: 'or ', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{}' } }] }],
    { addGenerationPrompt: false, continueFinalMessage: true, documents: [{ text: 'held' }] })
  t.equal(decode(continued), '<s> Document: {"text":"held"}\nUser: hello\nAssistant: or')
})
