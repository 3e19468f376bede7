import type { Logger } from 'pino'

/**
 * Writes a line of the engine process into the server's log: its own JSON lines at their level, text as `debug`. Drivers chat; when
 * it matters, the last lines come again with the process's death.
 */
export function forwardEngineLine (logger: Logger, line: string): void {
  const entry = parseLogEntry(line)
  if (entry === undefined) {
    if (line.trim() !== '') logger.debug({ event: 'engine-output', line })
    return
  }
  const { level, time: _time, pid: _pid, hostname: _hostname, ...fields } = entry
  const label = logger.levels.labels[level]
  logger[levelNames.find(name => name === label) ?? 'info']({ process: 'engine', ...fields })
}

const levelNames = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

function parseLogEntry (line: string): { readonly level: number, readonly [field: string]: unknown } | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null || !('level' in value) || typeof value.level !== 'number') return undefined
    return { ...value, level: value.level }
  } catch {
    return undefined
  }
}
