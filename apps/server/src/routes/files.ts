import { basename } from 'node:path'
import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { ApiError } from '../errors.ts'
import { fileObject } from '../files/index.ts'
import type { FileStore, IncomingContent, StoredFile } from '../files/index.ts'
import { pageOf, pageQuerySchema } from '../openai/page-query.ts'
import { toRequestError } from '../openai/request-error.ts'
import { deletedFileSchema, errorResponses, fileListSchema, fileSchema, jsonSchema } from '../openai/response-schemas.ts'

export interface FileRoutesOptions {
  readonly store: FileStore
  /** Most bytes of one upload. */
  readonly maxFileBytes: number
}

/** Longest of the form's text fields and of a file's name. */
const MAX_FIELD_BYTES = 1024

const uploadFields = z.strictObject({
  purpose: z.enum(['batch'], { error: "'batch' is the one purpose that this server has a use for" }),
  'expires_after[anchor]': z.literal('created_at').optional(),
  'expires_after[seconds]': z.coerce.number().int().min(3_600).max(2_592_000).optional()
})
const listQuery = pageQuerySchema({ default: 10_000, max: 10_000 }).extend({ purpose: z.string().max(64).optional() })

/** The Files API: what batches read and write. @see https://platform.openai.com/docs/api-reference/files */
export function registerFiles (app: FastifyInstance, { store, maxFileBytes }: FileRoutesOptions): void {
  const tags = ['files']
  app.register(multipart, { limits: { files: 1, fields: 8, parts: 9, fieldSize: MAX_FIELD_BYTES, fieldNameSize: 128, headerPairs: 32, fileSize: Number.POSITIVE_INFINITY } })

  app.post('/v1/files', {
    schema: {
      summary: 'Uploads a file',
      tags,
      consumes: ['multipart/form-data'],
      response: { 200: jsonSchema(fileSchema), ...errorResponses }
    }
  }, async request => fileObject(await receiveUpload(request, store, maxFileBytes)))

  app.get('/v1/files', {
    schema: { summary: 'The stored files', tags, querystring: jsonSchema(listQuery), response: { 200: jsonSchema(fileListSchema) } }
  }, async request => {
    const query = listQuery.safeParse(request.query)
    if (!query.success) throw toRequestError(query.error)
    const { purpose } = query.data
    return pageOf(store.list().filter(file => purpose === undefined || file.purpose === purpose), query.data, fileObject)
  })

  app.get<FileRequest>('/v1/files/:id', {
    schema: { summary: 'One stored file', tags, response: { 200: jsonSchema(fileSchema), ...errorResponses } }
  }, async request => fileObject(fileOf(store, request)))

  app.get<FileRequest>('/v1/files/:id/content', {
    schema: {
      summary: "A file's content",
      tags,
      response: { 200: { description: 'As it was stored', content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } }, ...errorResponses }
    }
  }, async (request, reply) => {
    const file = fileOf(store, request)
    return reply
      .type('application/octet-stream')
      .header('content-length', file.bytes)
      .header('content-disposition', `attachment; filename*=UTF-8''${encodeName(file.filename)}`)
      .send(store.read(file))
  })

  app.delete<FileRequest>('/v1/files/:id', {
    schema: { summary: 'Deletes a file', tags, response: { 200: jsonSchema(deletedFileSchema), ...errorResponses } }
  }, async request => {
    const { id } = fileOf(store, request)
    await store.delete(id)
    return { id, object: 'file', deleted: true }
  })
}

interface FileRequest { Params: { id: string } }

function fileOf (store: FileStore, { params: { id } }: FastifyRequest<FileRequest>): StoredFile {
  const file = store.get(id)
  if (file === undefined) throw new ApiError('not_found', `No such File object: ${id.slice(0, 64)}`, { param: 'id' })
  return file
}

/** The form's parts come in any order; the content goes to disk as it comes and becomes a file when all of them have been right. */
async function receiveUpload (request: FastifyRequest, store: FileStore, maxFileBytes: number): Promise<StoredFile> {
  if (!request.isMultipart()) throw new ApiError('unsupported_media_type', 'A file is uploaded as a form, with content-type: multipart/form-data.')
  const fields = new Map<string, string>()
  let upload: { readonly filename: string, readonly content: IncomingContent } | undefined
  try {
    for await (const part of request.parts()) {
      if (part.type === 'field') fields.set(part.fieldname, fieldText(part.fieldname, part.value, part.valueTruncated))
      else if (part.fieldname !== 'file') throw new ApiError('unknown_parameter', `Unknown parameter: '${part.fieldname.slice(0, 64)}'.`, { param: part.fieldname.slice(0, 64) })
      else upload = { filename: nameOf(part), content: await store.receive(part.file, maxFileBytes) }
    }
    if (!fields.has('purpose')) throw new ApiError('missing_required_parameter', "Missing required parameter: 'purpose'.", { param: 'purpose' })
    const parsed = uploadFields.safeParse(Object.fromEntries(fields))
    if (!parsed.success) throw toRequestError(parsed.error)
    if (upload === undefined) throw new ApiError('missing_required_parameter', "Missing required parameter: 'file'.", { param: 'file' })
    const { purpose, 'expires_after[seconds]': seconds } = parsed.data
    const { filename, content } = upload
    return await store.publish(content, { filename, purpose, expiresAfter: seconds })
  } catch (error) {
    if (upload !== undefined) await store.discard(upload.content)
    if (hasLeft(request)) throw new ApiError('malformed_request', 'The connection ended before the form did.', { cause: error })
    throw isMalformedForm(error) ? new ApiError('malformed_request', `The form cannot be read: ${error.message}.`, { cause: error }) : error
  }
}

function hasLeft ({ raw }: FastifyRequest): boolean {
  return raw.destroyed && !raw.complete
}

/** Without a path, and with no character cut in half. A part need not name its file. */
function nameOf ({ filename }: { readonly filename: string | undefined }): string {
  return basename(filename ?? '').slice(0, MAX_FIELD_BYTES).replace(/[\uD800-\uDBFF]$/, '') || 'file'
}

/** RFC 8187's ext-value, which allows less than what JavaScript leaves as it is. */
function encodeName (filename: string): string {
  return encodeURIComponent(filename).replace(/['()*]/g, character => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** The form's parser throws plain errors, everybody else those with a code. */
function isMalformedForm (error: unknown): error is Error {
  return error instanceof Error && !('code' in error)
}

function fieldText (name: string, value: unknown, truncated: boolean): string {
  if (typeof value === 'string' && !truncated) return value
  throw new ApiError('invalid_value', `Invalid value for '${name.slice(0, 64)}': a text of up to ${MAX_FIELD_BYTES} bytes is expected.`, { param: name.slice(0, 64) })
}
