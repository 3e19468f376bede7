/** What a file's content may come to has been passed; nothing of it is kept. */
export class FileTooLargeError extends Error {
  override readonly name = 'FileTooLargeError'
  readonly code = 'FILE_TOO_LARGE'
  readonly details: { readonly limitBytes: number }
  constructor (details: FileTooLargeError['details']) {
    super(`The file is larger than ${details.limitBytes} bytes, the most that this server takes.`)
    this.details = details
  }
}

/** The disk has no room for what was to be stored. */
export class StorageFullError extends Error {
  override readonly name = 'StorageFullError'
  readonly code = 'STORAGE_FULL'
  readonly details: { readonly folder: string }
  constructor (details: StorageFullError['details'], options?: ErrorOptions) {
    super('The server has no room left to store this.', options)
    this.details = details
  }
}

/** Whether an error says that the disk, or its quota, is full. */
export function isStorageFull (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'STORAGE_FULL')
}
