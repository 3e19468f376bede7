const PROTOCOLS: ReadonlySet<string> = new Set(['redis:', 'rediss:'])

/** Where a queue is. `href` may hold a password; what people and logs may read is `name`. */
export interface QueueUrl {
  readonly href: string
  /** The address alone. */
  readonly name: string
}

/** Undefined for what is no address of a Redis: `redis[s]://[user:password@]host[:port][/database]`. */
export function parseQueueUrl (text: string): QueueUrl | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !PROTOCOLS.has(url.protocol) || url.hostname === '' || url.search !== '' || url.hash !== '') return undefined
  if (!/^(\/\d*)?$/.test(url.pathname)) return undefined
  return { href: text, name: `${url.protocol}//${url.host}${url.pathname}` }
}

/** A text that was meant to be an address, with what may be a password in it taken out. */
export function withoutCredentials (text: string): string {
  return text.replace(/^([a-z]*:\/\/)?.*@/is, '$1…@').slice(0, 256)
}
