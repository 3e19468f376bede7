import t from 'tap'
import { ChatTemplate } from '../../../apps/server/src/text/jinja/template.ts'
import type { Value } from '../../../apps/server/src/text/jinja/values.ts'

const variables: ReadonlyArray<readonly [string, Value]> = [['messages', [new Map<string, Value>([['role', 'user'], ['content', 'hello']])]]]
const render = (source: string): string => new ChatTemplate(source).render(variables, { now: new Date(0), maxCharacters: 1_000 })

t.test('a template reaches nothing of JavaScript\'s', async t => {
  const objects = ['""', '"a"', 'messages', 'messages[0]', 'range', 'namespace()', 'loop', '1', '1.5', 'true', 'none', '"".upper', '"".upper()', 'messages[0].items()']
  const names = ['constructor', '__proto__', 'prototype', '__class__', 'toString', 'valueOf', 'hasOwnProperty', 'isPrototypeOf']
  for (const object of objects) {
    for (const name of names) {
      t.equal(render(`{% for m in messages %}{{ (${object}|attr("${name}")) is defined }}{{ m["${name}"] is defined }}{% endfor %}`), 'FalseFalse', `${object}: ${name}`)
    }
  }
  t.throws(() => render('{{ "".constructor.constructor("return process")() }}'), /constructor of a string is undefined/)
  t.throws(() => render('{{ messages.__class__() }}'), /cannot be called/)
})

t.test('what is not there is no text, and an error when more is asked of it', async t => {
  t.equal(render('[{{ nothing }}{{ messages[0].nothing }}{{ messages[9] }}]'), '[]')
  t.throws(() => render('{{ nothing.more }}'), /nothing is undefined/)
})
