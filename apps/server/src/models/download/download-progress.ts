/** What a download of one or more files tells whoever watches: the command line draws it, a server may log it. */
export interface DownloadProgress {
  /** Something is about to be downloaded. A second call replaces the first. */
  begin (name: string, totalBytes: number | undefined): void
  /** Bytes on disk, over all files; never more than the total. What an earlier try left counts. */
  update (doneBytes: number): void
  /** A line the user should read: a fallback, another try, a wait. */
  note (message: string): void
  /** The download has ended, well or not. */
  end (): void
}

/** Nobody watches. */
export const unwatched: DownloadProgress = { begin: () => {}, update: () => {}, note: () => {}, end: () => {} }
