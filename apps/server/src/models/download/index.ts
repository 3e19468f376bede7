export { downloadFile, type DownloadEnvironment, type DownloadRequest } from './download-file.ts'
export { unwatched, type DownloadProgress } from './download-progress.ts'
export { environmentFetch } from './environment-fetch.ts'
export { freeBytesOf, requireSpace } from './disk-space.ts'
export {
  DiskFullError, DownloadInterruptedError, DownloadMismatchError, HostUnreachableError, HttpStatusError, IncompleteDownloadError, ProxySettingError,
  type DownloadErrorCode
} from './errors.ts'
export { describeWait, lockHolder, type LockHolder, type OnWait } from '../../process-lock.ts'
export { retryDelayMs, unreachable } from './retry.ts'
