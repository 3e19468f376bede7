/** Where the code of the worker threads lies. The only place that knows; a bundle may hand over its own locations. */
export interface WorkerLocations {
  readonly tokenizer: URL
  readonly chatTemplate: URL
}

/**
 * The workers beside this module, with this module's own extension: `.ts` when run from source, `.js` when compiled, and, when
 * bundled, whatever the bundle is called, as long as it writes `tokenizer-worker` and `chat-template-worker` next to itself.
 */
export function neighbouringWorkers (): WorkerLocations {
  const extension = /\.[a-z]+$/.exec(new URL(import.meta.url).pathname)?.[0] ?? '.js'
  return {
    tokenizer: new URL(`./tokenizer-worker${extension}`, import.meta.url),
    chatTemplate: new URL(`./chat-template-worker${extension}`, import.meta.url)
  }
}
