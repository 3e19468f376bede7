import type { Dispatcher } from 'undici'
import { readProxyChoice } from './proxy-settings.ts'
import type { ProxyChoice } from './proxy-settings.ts'

type Fetch = typeof globalThis.fetch

/**
 * The `fetch` for downloads: Node's own, or, where the environment names a proxy, one that goes through it. Node 20's knows nothing of
 * proxies, and takes no dispatcher but those of the undici inside it; so then undici's own is loaded, when it is first called.
 * Redirects are followed by the same rules, each host for itself. A variable that names no HTTP proxy fails the request, not this call.
 */
export function environmentFetch (env: Readonly<Record<string, string | undefined>>): Fetch {
  const choice = readProxyChoice(env)
  if (choice === undefined) return globalThis.fetch
  let loading: Promise<Fetch> | undefined
  return async (input, init) => {
    loading ??= loadProxyFetch(choice)
    return await (await loading)(input, init)
  }
}

/**
 * Not undici's `EnvHttpProxyAgent`: it announces on stderr that it is experimental, sends https through the proxy that is meant for
 * http, and reads `example.com` in NO_PROXY as that host alone.
 */
async function loadProxyFetch (choice: ProxyChoice): Promise<Fetch> {
  const { Agent, fetch, Pool, ProxyAgent } = await import('undici')
  const dispatcher = new Agent({
    // For each origin that is spoken to.
    factory: (origin, options): Dispatcher => {
      const proxy = choice(new URL(origin))
      // What is not encrypted needs no tunnel, and many proxies open one to port 443 only.
      return proxy === undefined ? new Pool(origin, options) : new ProxyAgent({ uri: proxy.href, proxyTunnel: false })
    }
  })
  return async (input, init) => {
    if (input instanceof Request) throw new TypeError('what is downloaded is asked for by its URL')
    return await fetch(input, { ...init, dispatcher })
  }
}
