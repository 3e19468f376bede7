/** The server half of `streaming-overhead.ts`, in a process of its own: tells its port, then its CPU time when asked. */
import type { AddressInfo } from 'node:net'
import { buildApp } from '../../apps/server/src/app.ts'
import { httpConfigSchema } from '../../apps/server/src/http-config.ts'
import { createLogger } from '../../apps/server/src/cli/logger.ts'
import { Telemetry } from '../../apps/server/src/telemetry/telemetry.ts'
import { fakeTextService } from '../fakes/fake-text-service.ts'
import { InstantEngine } from './instant-engine.ts'

const generation = new InstantEngine()
const config = httpConfigSchema.parse({})
const app = buildApp({
  config,
  generation,
  text: fakeTextService(),
  model: { id: 'instant', created: 0, ownedBy: 'bench' },
  logger: createLogger('info', 'json', { write () {} }),
  telemetry: new Telemetry({ generation, modelName: 'instant', cacheSeconds: config.metricsCacheSeconds }),
})
await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.({ port: (app.server.address() as AddressInfo).port })
process.on('message', () => process.send?.(process.cpuUsage()))
process.on('disconnect', () => process.exit(0))
