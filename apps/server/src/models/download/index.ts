export { downloadFile, type DownloadEnvironment, type DownloadRequest } from './download-file.ts'
export { unwatched, type DownloadProgress } from './download-progress.ts'
export { freeBytesOf, requireSpace } from './disk-space.ts'
export {
  DiskFullError, DownloadInterruptedError, DownloadMismatchError, HostUnreachableError, HttpStatusError, IncompleteDownloadError,
  type DownloadError, type DownloadErrorCode
} from './errors.ts'
export { retryDelayMs, unreachable } from './retry.ts'
