import { z } from 'zod'
import { ApiError } from '../errors.ts'
import { toRequestError } from '../openai/request-error.ts'

const frameId = z.string().min(1).max(128)

const clientFrameSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('request'), id: frameId, body: z.unknown() }),
  z.strictObject({ type: z.literal('cancel'), id: frameId }),
])

/** What a client may send; `body` is what it would POST. */
export type ClientFrame = z.infer<typeof clientFrameSchema>

/** @throws ApiError when the text is no JSON or no frame. */
export function parseClientFrame (text: string): ClientFrame {
  const result = clientFrameSchema.safeParse(parseJson(text))
  if (!result.success) throw toRequestError(result.error)
  return result.data
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ApiError('invalid_json', 'The frame is not valid JSON.', { cause })
  }
}

/** The id inside a frame that is otherwise wrong, so that its error can be told apart; `null` when there is none. */
export function idInFrame (text: string): string | null {
  try {
    const id = z.object({ id: frameId }).safeParse(JSON.parse(text))
    return id.success ? id.data.id : null
  } catch {
    return null
  }
}

/** Frames to the client, as text: chunks hold JSON that is already serialised. */
export const serverFrame = {
  chunk: (idJson: string, json: string): string => `{"type":"chunk","id":${idJson},"data":${json}}`,
  done: (idJson: string): string => `{"type":"done","id":${idJson}}`,
  error: (id: string | null, error: ApiError): string =>
    JSON.stringify({ type: 'error', id, status: error.shape.status, error: error.body.error }),
}
