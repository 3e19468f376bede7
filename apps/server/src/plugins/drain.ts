import type { FastifyInstance } from 'fastify'
import type { DrainState } from '../server-context.ts'
import type { ActiveRequests } from '../transport/active-requests.ts'
import { OpenConnections } from '../transport/open-connections.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Takes no more requests (503), closes WebSockets with 1001 as they fall idle, and resolves when every active request has
     * been answered. Put a deadline beside it: `close()` stops what is left, with an error for its client.
     */
    drain (): Promise<void>
  }
}

/** For the last bytes, and the answers to close frames, of peers that still listen; the others would hold up the exit. */
const CLOSE_GRACE_MS = 2000

export class Drain implements DrainState {
  #draining = false
  readonly #listeners = new Set<() => void>()

  get draining (): boolean { return this.#draining }

  /** Calls `listener` when the drain begins. Returns a function that takes it off again. */
  onDrain (listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  begin (): void {
    if (this.#draining) return
    this.#draining = true
    for (const listener of this.#listeners) listener()
  }
}

export function registerDrain (app: FastifyInstance, drain: Drain, active: ActiveRequests): void {
  app.decorate('drain', async () => {
    drain.begin()
    await active.idle()
  })
  app.addHook('onRequest', async (_request, reply) => {
    // A kept connection would go on bringing requests to a server that refuses them.
    if (drain.draining) reply.header('connection', 'close')
  })
  const connections = new OpenConnections(app.server)
  app.addHook('preClose', async () => {
    drain.begin()
    active.stopAll()
    await active.idle()
    connections.close()
    setTimeout(() => {
      connections.destroy()
      for (const socket of app.websocketServer.clients) socket.terminate()
    }, CLOSE_GRACE_MS).unref()
  })
}
