import t from 'tap'
import { aServer } from './server-under-test.ts'

interface Operation { readonly summary?: string, readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> }, readonly responses: Readonly<Record<string, { readonly description: string, readonly content?: object }>> }
interface Schema { readonly type?: string, readonly properties?: Readonly<Record<string, Readonly<Record<string, unknown>>>>, readonly required?: readonly string[], readonly additionalProperties?: unknown }
interface Document { readonly openapi: string, readonly info: { readonly title: string, readonly version: string }, readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>> }

t.test('the OpenAPI document describes every route with its summary, body and answers', async t => {
  const server = await aServer(t)
  const document = await (await fetch(`${server.url}/openapi.json`)).json() as Document
  t.match(document.openapi, /^3\.1\./)
  t.ok(document.info.title !== '' && document.info.version !== '')
  const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`)).sort()
  t.strictSame(operations, [
    'GET /health', 'GET /metrics', 'GET /openapi.json', 'GET /ready', 'GET /v1/chat/completions', 'GET /v1/completions', 'GET /v1/models', 'GET /v1/models/{model}', 'GET /version',
    'POST /detokenize', 'POST /tokenize', 'POST /v1/chat/completions', 'POST /v1/completions',
  ])
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      t.ok(operation.summary, `${method} ${path} has a summary`)
      t.ok(Object.values(operation.responses).every(({ description }) => description !== ''), `${method} ${path} describes its answers`)
      t.equal(operation.requestBody !== undefined, method === 'post', `${method} ${path} has a body if it is a POST`)
    }
  }
})

t.test('a request schema has the bounds that are enforced', async t => {
  const server = await aServer(t, { config: { maxChoices: 5 } })
  const document = await (await fetch(`${server.url}/openapi.json`)).json() as Document
  const schema = document.paths['/v1/chat/completions']?.['post']?.requestBody?.content['application/json']?.schema
  t.equal(schema?.type, 'object')
  t.strictSame(schema?.required, ['messages'])
  t.equal(schema?.additionalProperties, false)
  t.match(schema?.properties?.['n'], { type: 'integer', minimum: 1, maximum: 5 })
  t.match(schema?.properties?.['temperature'], { type: 'number', minimum: 0, maximum: 2 })
  t.strictSame(Object.keys(document.paths['/v1/completions']?.['post']?.responses['200']?.content ?? {}), ['application/json', 'text/event-stream'])
  t.match(schema?.properties?.['messages'], { type: 'array', minItems: 1, maxItems: 4096 })
})
