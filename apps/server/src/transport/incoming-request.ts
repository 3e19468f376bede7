import { IncomingMessage } from 'node:http'

/**
 * A request as Node's parser fills it, asking for an upgrade only where that is a WebSocket. A server may ignore an `Upgrade`
 * header (RFC 9110, 7.8), and Java's HttpClient sends `Upgrade: h2c` with every first request; but once a server listens for
 * upgrades, Node hands it all of them, their bodies unread. It asks the message, so the message denies it.
 */
export class IncomingRequest extends IncomingMessage {
  /** Set by the parser, before the headers are known. */
  upgradeAsked: boolean | null | undefined

  get upgrade (): boolean {
    return this.upgradeAsked === true && this.headers.upgrade?.toLowerCase() === 'websocket'
  }

  set upgrade (asked: boolean | null) {
    this.upgradeAsked = asked
  }
}
