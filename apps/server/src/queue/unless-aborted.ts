/**
 * The outcome of work that may take for ever, such as a command that waits for its connection; once the signal aborts, nobody hears of it.
 * @throws the signal's reason, what the work throws (rejects)
 */
export async function unlessAborted<Result> (signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  // Whoever loses the race is nobody's to handle.
  work.catch(() => {})
  let abort = (): void => {}
  const aborted = new Promise<undefined>(resolve => { abort = () => { resolve(undefined) } })
  signal.addEventListener('abort', abort, { once: true })
  try {
    signal.throwIfAborted()
    const first = await Promise.race([work.then(result => ({ result })), aborted])
    if (first === undefined) throw signal.reason
    return first.result
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
