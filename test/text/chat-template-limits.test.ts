import t from 'tap'
import { hello, serviceWith } from './template-service.ts'

t.test('a template that does not end is cut off, and the others go on', async t => {
  const loop = '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}'
  const { render } = await serviceWith(t, { chat_template: `{% if messages[0].content == "loop" %}${loop}{% endif %}ok` }, { templateTimeoutMs: 300, maxTemplateThreads: 1 })
  const looping = render([{ role: 'user', content: 'loop' }])
  const behind = render(hello)
  await t.rejects(looping, { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'timeout', timeoutMs: 300 } })
  t.equal(await behind, 'ok', 'even the one that waited behind it for the only thread')
  t.equal(await render(hello), 'ok')
})

t.test('a template that makes one huge thing at once is refused before it has it', async t => {
  const million = '{% set a = "a" * 1000000 %}'
  const nested = '{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}'
  const bombs: Readonly<Record<string, string>> = {
    range: '{% for i in range(10 ** 9) %}{% endfor %}',
    repeat: '{{ "a" * 10 ** 9 }}',
    'repeat a list': '{% set a = [1] * 10 ** 9 %}',
    concatenate: '{% set ns = namespace(a="ab") %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}',
    'concatenate lists': '{% set ns = namespace(a=[1]) %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}{% endfor %}',
    join: `${million}{{ range(99999) | join(a) }}`,
    'join method': `${million}{{ a.join(["x"] * 99999) }}`,
    replace: `${million}{{ a.replace("a", a) }}`,
    'replace nothing': `${million}{{ a | replace("", a) }}`,
    split: `${million}{{ a.split("a") }}`,
    'split at spaces': '{% set a = "a " * 500000 %}{{ a.split() }}',
    lines: '{% set a = "\\n" * 1000000 %}{{ a.splitlines() }}',
    letters: `${million}{{ a | list }}`,
    backwards: `${million}{{ a[::-1] }}`,
    indent: '{% set a = "\\n" * 100000 %}{{ a | indent(1000000, true, true) }}',
    'indent JSON': '{{ [[[1]]] | tojson(indent=1000000) }}',
    zfill: '{{ "1".zfill(10 ** 9) }}',
    upper: '{{ ("\\u0149" * 1000000) | upper }}',
    escapes: '{{ ["\\u0001" * 1000000] }}',
    'escapes of JSON': '{{ ("\\u0001" * 1000000) | tojson }}',
    batch: '{{ [1] | batch(10 ** 9, 0) }}',
    'a tree of the same': `${nested}{{ ns.a }}`,
    'a tree of the same as JSON': `${nested}{{ ns.a | tojson }}`,
    output: `${million}{% for i in range(99999) %}{{ a }}{% endfor %}`,
    capture: `${million}{% set b %}{% for i in range(99999) %}{{ a }}{% endfor %}{% endset %}`,
    sum: `${million}{{ ([a] * 99) | sum(start="") }}`,
    power: '{{ 10 ** 999 }}',
    recursion: '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'
  }
  const branches = Object.entries(bombs).map(([name, bomb], i) => `{% ${i === 0 ? 'if' : 'elif'} messages[0].content == "${name}" %}${bomb}`)
  const { render } = await serviceWith(t, { chat_template: `${branches.join('')}{% else %}ok{% endif %}` },
    { templateTimeoutMs: 60_000, maxTemplateThreads: 1, maxTemplateHeapMiB: 128, maxTemplateCharacters: 1_000_000 })
  for (const name of Object.keys(bombs)) {
    await t.rejects(render([{ role: 'user', content: name }]), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'failed' } }, name)
  }
  t.equal(await render(hello), 'ok')
})

t.test('a prompt may be as long as the limit, and not longer', async t => {
  const { render } = await serviceWith(t, { chat_template: '{{ messages[0].content }}' }, { maxTemplateCharacters: 100 })
  t.equal((await render([{ role: 'user', content: 'h'.repeat(100) }])).trim(), 'h'.repeat(100))
  await t.rejects(render([{ role: 'user', content: 'h'.repeat(101) }]), { message: /more than 100 characters/ })
})

t.test('a heap that is full of small things has room for the largest allowed thing, and ends its worker only', async t => {
  // Each round keeps a little more and makes, and drops, the largest text there may be.
  const fill = '{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a, [i] * 250000] %}{% set b = ("\\u4e00" * 5000000 ~ i).lower() %}{% endfor %}'
  const { render } = await serviceWith(t, { chat_template: `{% if messages[0].content == "fill" %}${fill}{% endif %}ok` }, { templateTimeoutMs: 60_000, maxTemplateHeapMiB: 64 })
  await t.rejects(render([{ role: 'user', content: 'fill' }]), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'memory' } })
  t.equal(await render(hello), 'ok')
})

t.test('a template that hoards memory loses its worker only', async t => {
  const hoard = '{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = [ns.a, range(500)] %}{% endfor %}'
  const { render } = await serviceWith(t, { chat_template: `{% if messages[0].content == "hoard" %}${hoard}{% endif %}ok` }, { templateTimeoutMs: 60_000, maxTemplateHeapMiB: 48 })
  await t.rejects(render([{ role: 'user', content: 'hoard' }]), { code: 'TEXT_CHAT_TEMPLATE', details: { reason: 'memory' } })
  t.equal(await render(hello), 'ok')
})
