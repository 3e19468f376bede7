/** Which proxy a download goes through, by the variables that curl and Python's requests read. */
import { BlockList, isIP } from 'node:net'
import { ProxySettingError } from './errors.ts'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The proxy for a URL; undefined: none.
 * @throws ProxySettingError when a variable names one that is no HTTP proxy
 */
export type ProxyChoice = (url: URL) => URL | undefined

/**
 * From `HTTPS_PROXY` for https and `HTTP_PROXY` for http, each in small letters first, unless `NO_PROXY` lists the host: `example.com`
 * (and all below it), `.example.com`, `10.0.0.0/8`, any of them with a port, or `*`.
 * @returns undefined where neither proxy is set
 */
export function readProxyChoice (env: Environment): ProxyChoice | undefined {
  const proxies = new Map([['https:', variable(env, 'HTTPS_PROXY')], ['http:', variable(env, 'HTTP_PROXY')]])
  if ([...proxies.values()].every(proxy => proxy === undefined)) return undefined
  const exceptions = (variable(env, 'NO_PROXY')?.value ?? '').split(/[\s,]+/).filter(entry => entry !== '').map(parseException)
  return url => {
    const proxy = proxies.get(url.protocol)
    if (proxy === undefined || exceptions.some(isException => isException(url))) return undefined
    return parseProxy(proxy)
  }
}

interface Variable {
  readonly name: string
  readonly value: string
}

function variable (env: Environment, name: string): Variable | undefined {
  for (const spelling of [name.toLowerCase(), name]) {
    const value = env[spelling]?.trim()
    if (value !== undefined && value !== '') return { name: spelling, value }
  }
  return undefined
}

function parseProxy ({ name, value }: Variable): URL {
  // As curl has it, `proxy.example:3128` is one that speaks HTTP.
  const address = value.includes('://') ? value : `http://${value}`
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw new ProxySettingError({ variable: name, value: value.replace(/\/\/.*@/s, '//') })
  }
  return new URL(`${url.protocol}//${url.username === '' ? '' : `${url.username}:${url.password}@`}${url.host}`)
}

function parseException (entry: string): (url: URL) => boolean {
  if (entry === '*') return () => true
  const [, network = '', bits = ''] = /^(.+)\/(\d+)$/.exec(entry) ?? []
  if (isIP(network) !== 0) return inNetwork(network, Number(bits))
  const [, name = entry, port] = /^(\[.+\]|[^:]+):(\d+)$/.exec(entry) ?? []
  const host = name.replace(/^\[(.*)\]$/, '$1').replace(/^\*?\./, '').toLowerCase()
  return url => (port === undefined || port === portOf(url)) && (hostOf(url) === host || hostOf(url).endsWith(`.${host}`))
}

function inNetwork (network: string, bits: number): (url: URL) => boolean {
  const family = isIP(network) === 6 ? 'ipv6' : 'ipv4'
  if (bits > (family === 'ipv6' ? 128 : 32)) return () => false
  const list = new BlockList()
  list.addSubnet(network, bits, family)
  return url => {
    const version = isIP(hostOf(url))
    return version !== 0 && list.check(hostOf(url), version === 6 ? 'ipv6' : 'ipv4')
  }
}

function hostOf (url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1')
}

function portOf ({ port, protocol }: URL): string {
  return port === '' ? protocol === 'https:' ? '443' : '80' : port
}
