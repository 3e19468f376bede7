import type { ServerResponse } from 'node:http'

/**
 * Cuts a response that has been written whole and that its reader does not take within `patienceMs`. Nothing else would ever end it:
 * the generation is over, and with it every deadline of its own.
 */
export function cutUnlessTaken (response: ServerResponse, patienceMs: number): void {
  if (response.writableFinished || response.destroyed) return
  const taken = (): void => clearTimeout(timer)
  const timer = setTimeout(() => {
    // Without a socket it waits behind the response to an earlier, pipelined request: that is not its reader's doing.
    if (response.socket === null) timer.refresh()
    else response.destroy()
  }, patienceMs).unref()
  response.once('finish', taken)
  response.once('close', taken)
}
