import type { Command } from 'commander'
import type { z } from 'zod'
import { engineSettings, httpSettings, listenSettings, logSettings, modelSettings, operationSettings, queueSettings, storageSettings } from '../config.ts'
import type { RegisterCommand } from './command-context.ts'
import { Server } from './server.ts'
import type { ServeEnvironment, ServeSettings } from './server.ts'
import { addSettings, readSettings } from './settings.ts'
import type { SettingsSection } from './settings.ts'
import { stopOnSignal } from './stop-on-signal.ts'
import { untilSignal } from './until-signal.ts'

const sections = [listenSettings, modelSettings, engineSettings, operationSettings, httpSettings, storageSettings, queueSettings, logSettings]

/** `daybreak serve`. */
export function serveCommand (environment: ServeEnvironment): RegisterCommand {
  return (program, context) => {
    const command = program.command('serve').description('Serve a model over HTTP and WebSocket').argument('[model]', 'the same as --model')
    for (const section of sections) addSettings(command, section)
    command.addHelpText('after', '\ndaybreak inspect <model> says beforehand whether a model fits, and for how many sequences of what length.')
    command.action(async (positional: string | undefined) => {
      const settings = serveSettings(command, context.env, positional)
      const opened = await untilSignal(context, async signal => await Server.open(settings, context, environment, signal))
      if (opened === undefined) return
      stopOnSignal(opened.result, context)
      await opened.result.listen()
    })
  }
}

function serveSettings (command: Command, env: Readonly<Record<string, string | undefined>>, model: string | undefined): ServeSettings {
  if (model !== undefined && command.getOptionValueSource('model') === 'cli') {
    command.error(`error: two models are given, ${JSON.stringify(model)} and --model ${JSON.stringify(command.getOptionValue('model'))}; which one is meant?`)
  }
  const read = <Shape extends z.ZodObject>(section: SettingsSection<Shape>) => readSettings(section, command, env)
  return {
    listen: read(listenSettings),
    model: model === undefined ? read(modelSettings) : { ...read(modelSettings), model },
    engine: read(engineSettings),
    operation: read(operationSettings),
    http: read(httpSettings),
    storage: read(storageSettings),
    queue: read(queueSettings),
    log: read(logSettings)
  }
}
