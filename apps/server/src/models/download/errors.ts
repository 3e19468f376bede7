/** Why a file was not downloaded. What had arrived stays beside the destination for the next try, unless it was wrong. */

import { formatByteSize } from '../../cli/byte-size.ts'

const MAKE_ROOM = 'Make room (daybreak models delete), or have models kept elsewhere (HF_HOME, DAYBREAK_CACHE_DIR)'

export type DownloadErrorCode =
  | 'DOWNLOAD_UNREACHABLE' | 'DOWNLOAD_HTTP_STATUS' | 'DOWNLOAD_INCOMPLETE' | 'DOWNLOAD_MISMATCH' | 'DOWNLOAD_DISK_FULL' | 'DOWNLOAD_INTERRUPTED'
  | 'DOWNLOAD_PROXY_SETTING'

/** No answer: no network, no such host, a refused, broken or silent connection. */
export class HostUnreachableError extends Error {
  override readonly name = 'HostUnreachableError'
  readonly code = 'DOWNLOAD_UNREACHABLE' satisfies DownloadErrorCode
  readonly details: { readonly url: string, readonly problem: string }

  constructor (details: HostUnreachableError['details'], options?: ErrorOptions) {
    super(`${hostOf(details.url)} cannot be reached: ${details.problem}`, options)
    this.details = details
  }
}

/** An answer that is no file: its status, how long the server asks to be left alone, and its own words for it where it has some. */
export class HttpStatusError extends Error {
  override readonly name = 'HttpStatusError'
  readonly code = 'DOWNLOAD_HTTP_STATUS' satisfies DownloadErrorCode
  readonly details: {
    readonly url: string
    readonly status: number
    readonly retryAfterMs: number | undefined
    /** `X-Error-Code` and `X-Error-Message`, which the Hugging Face Hub sends. */
    readonly serverCode: string | undefined
    readonly serverMessage: string | undefined
  }

  constructor (details: HttpStatusError['details'], options?: ErrorOptions) {
    super(`${withoutQuery(details.url)} answered with HTTP status ${details.status}${details.serverMessage === undefined ? '' : ` (${details.serverMessage})`}`, options)
    this.details = details
  }

  /** @param now in Unix milliseconds; a `Retry-After` may be a date */
  static of (url: string, { status, headers }: Response, now: number): HttpStatusError {
    const serverCode = headers.get('x-error-code') ?? undefined
    const serverMessage = headers.get('x-error-message') ?? undefined
    return new HttpStatusError({ url, status, retryAfterMs: parseRetryAfter(headers.get('retry-after'), now), serverCode, serverMessage })
  }
}

/** `Retry-After` (RFC 9110, 10.2.3), seconds or a date, in milliseconds from `now`. */
function parseRetryAfter (value: string | null, now: number): number | undefined {
  if (value === null) return undefined
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** The connection ended early, or the server sent another part than the one asked for. */
export class IncompleteDownloadError extends Error {
  override readonly name = 'IncompleteDownloadError'
  readonly code = 'DOWNLOAD_INCOMPLETE' satisfies DownloadErrorCode
  readonly details: { readonly url: string, readonly receivedBytes: number, readonly expectedBytes: number | undefined }

  constructor (details: IncompleteDownloadError['details'], options?: ErrorOptions) {
    super(`${withoutQuery(details.url)} ended after ${details.receivedBytes} of ${details.expectedBytes ?? 'an unknown number of'} bytes`, options)
    this.details = details
  }
}

/** What arrived, or would, is not what was promised. */
export class DownloadMismatchError extends Error {
  override readonly name = 'DownloadMismatchError'
  readonly code = 'DOWNLOAD_MISMATCH' satisfies DownloadErrorCode
  /** `property` is `length`, or the hash that differs. `keptBytes`: nothing was taken, and so much of an earlier try stays; undefined: what arrived has been removed. */
  readonly details: { readonly url: string, readonly property: string, readonly expected: string, readonly found: string, readonly keptBytes?: number }

  constructor (details: DownloadMismatchError['details'], options?: ErrorOptions) {
    super(`${withoutQuery(details.url)}: ${details.property} is ${details.found}, not ${details.expected}; ${details.keptBytes === undefined ? 'what arrived was removed' : 'nothing was taken'}`, options)
    this.details = details
  }
}

/** The file system has, or had, no room for the file. */
export class DiskFullError extends Error {
  override readonly name = 'DiskFullError'
  readonly code = 'DOWNLOAD_DISK_FULL' satisfies DownloadErrorCode
  /** Undefined numbers: the disk ran full while writing. */
  readonly details: { readonly folder: string, readonly neededBytes: number | undefined, readonly freeBytes: number | undefined }

  constructor (details: DiskFullError['details'], options?: ErrorOptions) {
    const { folder, neededBytes, freeBytes } = details
    super(neededBytes === undefined || freeBytes === undefined
      ? `${folder}: the disk is full. ${MAKE_ROOM}`
      : `${folder}: ${formatByteSize(neededBytes)} more are needed and ${formatByteSize(Math.max(0, freeBytes))} are free. ${MAKE_ROOM}`, options)
    this.details = details
  }
}

/** The caller's signal ended it. The same call again goes on where it was. */
export class DownloadInterruptedError extends Error {
  override readonly name = 'DownloadInterruptedError'
  readonly code = 'DOWNLOAD_INTERRUPTED' satisfies DownloadErrorCode
  readonly details: { readonly url: string, readonly receivedBytes: number }

  constructor (details: DownloadInterruptedError['details'], options?: ErrorOptions) {
    super(`${withoutQuery(details.url)}: interrupted; what has arrived is kept for the next try`, options)
    this.details = details
  }
}

/** A variable that should name a proxy does not. A failed request has it as its cause. */
export class ProxySettingError extends Error {
  override readonly name = 'ProxySettingError'
  readonly code = 'DOWNLOAD_PROXY_SETTING' satisfies DownloadErrorCode
  /** `value` without user and password. */
  readonly details: { readonly variable: string, readonly value: string }

  constructor (details: ProxySettingError['details'], options?: ErrorOptions) {
    super(`${details.variable} is ${JSON.stringify(details.value)}, not the address of an HTTP proxy (http://host:port)`, options)
    this.details = details
  }
}

function hostOf (url: string): string {
  return URL.canParse(url) ? new URL(url).host : url
}

/** A signed URL's query is a key: it has no place in a message. */
function withoutQuery (url: string): string {
  return url.replace(/[?#].*$/s, '')
}
