import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

/**
 * The server's logger: JSON lines with an event name and fields. Nothing logs prompt or generated text; credentials in
 * headers are censored should a serialiser ever print them.
 */
export function createLogger (level: LogLevel, destination?: DestinationStream): Logger {
  const options = {
    level,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: ['req.headers.authorization', 'headers.authorization', 'req.headers["x-api-key"]'], censor: '[redacted]' },
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}
