import type { FastifyInstance } from 'fastify'
import type { DrainState } from '../server-context.ts'
import type { ActiveRequests } from '../transport/active-requests.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Takes no more requests (503), closes WebSockets with 1001 as they fall idle, and resolves when every active request has
     * been answered. Put a deadline beside it: `close()` stops what is left, with an error for its client.
     */
    drain (): Promise<void>
  }
}

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
  app.addHook('preClose', async () => {
    drain.begin()
    active.stopAll()
  })
}
