import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'
import { errorResponses, jsonSchema, modelListSchema, modelSchema } from '../openai/response-schemas.ts'
import type { ServerContext } from '../server-context.ts'

/** The model under each of its names, in OpenAI's shape with vLLM's `root` and `max_model_len`. */
export function registerModels (app: FastifyInstance, { model, names, generation }: ServerContext): void {
  const tags = ['models']
  const describe = (id: string) => ({
    id,
    object: 'model',
    created: model.created,
    owned_by: model.ownedBy,
    root: model.id,
    max_model_len: generation.capacity?.maxModelLen ?? null,
  })

  app.get('/v1/models', {
    schema: { summary: 'The served models', tags, response: { 200: jsonSchema(modelListSchema) } },
  }, async () => ({ object: 'list', data: names.all.map(describe) }))

  // A wildcard, because names like `org/model` hold a slash and not every client escapes it.
  app.get<{ Params: { '*': string } }>('/v1/models/*', {
    schema: { summary: 'One served model', tags, params: { type: 'object', properties: { model: { type: 'string' } }, required: ['model'] }, response: { 200: jsonSchema(modelSchema), ...errorResponses } },
  }, async request => {
    const id = request.params['*']
    if (names.resolve(id) === undefined) throw new ApiError('model_not_found', `The model '${id.slice(0, 256)}' does not exist.`, { param: 'model' })
    return describe(id)
  })
}
