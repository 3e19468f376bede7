import pino from 'pino'
import type { Logger } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { OutputStream } from './command-context.ts'

export type LogFormat = 'auto' | 'pretty' | 'json'

/** JSON lines, or text for eyes: `auto` decides by whether `stream` is a terminal. */
export function createLogger (level: string, format: LogFormat, stream: OutputStream): Logger {
  const isPretty = format === 'pretty' || (format === 'auto' && stream.isTTY === true)
  if (!isPretty) return pino({ level }, { write: line => { stream.write(line) } })
  const print = prettyFactory({
    colorize: stream.isTTY === true,
    // A line without a message is its event's name and the fields.
    messageFormat: (log, messageKey) => String(log[messageKey] ?? log['event'] ?? ''),
    ignore: 'pid,hostname',
    translateTime: 'SYS:HH:MM:ss',
    singleLine: true
  })
  return pino({ level }, { write: line => { stream.write(print(line)) } })
}

/** Says nothing. */
export const silentLogger: Logger = pino({ level: 'silent' })
