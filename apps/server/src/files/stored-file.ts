/** What a file is for. Clients upload `batch` files; `batch_output` ones are a batch's answers and errors. */
export type FilePurpose = 'batch' | 'batch_output'

/** One file of the store, as its metadata is kept. Times in Unix seconds. */
export interface StoredFile {
  readonly id: string
  /** As the client called it. */
  readonly filename: string
  readonly purpose: FilePurpose
  readonly bytes: number
  readonly createdAt: number
  /** Deleted at the first look after this; undefined: kept. */
  readonly expiresAt: number | undefined
}

/** OpenAI's object. @see https://platform.openai.com/docs/api-reference/files/object */
export function fileObject ({ id, filename, purpose, bytes, createdAt, expiresAt }: StoredFile) {
  return {
    id,
    object: 'file',
    bytes,
    created_at: createdAt,
    filename,
    purpose,
    status: 'processed',
    ...expiresAt === undefined ? {} : { expires_at: expiresAt }
  }
}
