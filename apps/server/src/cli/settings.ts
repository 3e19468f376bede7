/**
 * From one zod schema to flags, environment variables, help and values: `maxModelLen` is `--max-model-len` and
 * `DAYBREAK_MAX_MODEL_LEN`. A flag wins over the variable, that over the default.
 */
import { Option } from 'commander'
import type { Command } from 'commander'
import { z } from 'zod'
import { allowedValues } from './allowed-values.ts'

export interface SettingsSection<Shape extends z.ZodObject = z.ZodObject> {
  /** Heading in `--help`. */
  readonly title: string
  /** Every field has a default or is optional; its description is its help. */
  readonly schema: Shape
  /** Flags that are not the field's own name in kebab-case, without the dashes. */
  readonly flags?: Readonly<Record<string, string>>
}

/** A value from the command line or the environment that cannot be used. */
export class SettingError extends Error {
  override readonly name = 'SettingError'
  readonly code = 'CLI_SETTING_INVALID'
  readonly details: { readonly setting: string, readonly value: string, readonly allowed: string }

  constructor (details: SettingError['details']) {
    super(`${details.setting}: ${JSON.stringify(details.value)} is not allowed; it takes ${details.allowed}`)
    this.details = details
  }
}

type Kind = 'switch' | 'list' | 'value'

/** Adds a section's flags to a command, under their heading. */
export function addSettings (command: Command, section: SettingsSection): void {
  command.optionsGroup(`${section.title}:`)
  for (const [key, schema] of Object.entries(section.schema.shape)) {
    const option = new Option(flagSyntax(section, key, schema), helpOf(section, key, schema))
    command.addOption(kindOf(schema) === 'list' ? option.argParser(collected) : option)
  }
}

/**
 * A section's values, frozen, for a parsed command.
 * @throws SettingError naming the flag or variable, its value, and what it takes
 */
export function readSettings<Shape extends z.ZodObject> (section: SettingsSection<Shape>, command: Command, env: Readonly<Record<string, string | undefined>>): Readonly<z.infer<Shape>> {
  const entries = Object.entries(section.schema.shape).flatMap(([key, schema]) => {
    const value = givenValue(section, key, schema, command, env)
    return value === undefined ? [] : [[key, value.input]]
  })
  return Object.freeze(section.schema.parse(Object.fromEntries(entries)))
}

/** One value for each time the flag is given: a flag that takes several at once would take the argument behind them, too. */
const collected = (value: string, earlier: readonly string[] | undefined): string[] => [...(earlier ?? []), value]

/** `--max-model-len`; `--no-…` for a switch that is on by default. */
function flagOf (section: SettingsSection, key: string, schema: z.ZodType): string {
  const name = section.flags?.[key] ?? key.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
  return kindOf(schema) === 'switch' && defaultOf(schema) === true ? `--no-${name}` : `--${name}`
}

function variableOf (section: SettingsSection, key: string): string {
  const name = section.flags?.[key]?.replaceAll('-', '_') ?? key.replaceAll(/[A-Z]/g, letter => `_${letter}`)
  return `DAYBREAK_${name.toUpperCase()}`
}

/** What was said about one setting, as input for its schema; undefined when nothing was. */
function givenValue (section: SettingsSection, key: string, schema: z.ZodType, command: Command, env: Readonly<Record<string, string | undefined>>): { readonly input: unknown } | undefined {
  const flag = flagOf(section, key, schema)
  const attribute = new Option(flagSyntax(section, key, schema)).attributeName()
  if (command.getOptionValueSource(attribute) === 'cli') {
    const value: unknown = command.getOptionValue(attribute)
    return { input: typeof value === 'string' ? parseText(schema, value, flag) : checked(schema, value, flag) }
  }
  const variable = variableOf(section, key)
  const text = env[variable]
  return text === undefined || text === '' ? undefined : { input: parseText(schema, text, variable) }
}

/** Text has no types: whichever reading of it the schema accepts is meant. */
function parseText (schema: z.ZodType, text: string, setting: string): unknown {
  for (const reading of readingsOf(kindOf(schema), text)) {
    if (schema.safeParse(reading).success) return reading
  }
  throw new SettingError({ setting, value: text, allowed: allowedValues(schema) })
}

function readingsOf (kind: Kind, text: string): unknown[] {
  switch (kind) {
    case 'switch': return /^(true|1|yes|on)$/i.test(text) ? [true] : /^(false|0|no|off)$/i.test(text) ? [false] : []
    case 'list': return [text.split(',').map(item => item.trim()).filter(item => item !== '')]
    case 'value': return /^-?\d+(\.\d+)?$/.test(text.trim()) ? [Number(text), text] : [text]
  }
}

function checked (schema: z.ZodType, value: unknown, setting: string): unknown {
  if (schema.safeParse(value).success) return value
  throw new SettingError({ setting, value: Array.isArray(value) ? value.join(' ') : String(value), allowed: allowedValues(schema) })
}

function kindOf (schema: z.ZodType): Kind {
  if (schema.safeParse(true).success) return 'switch'
  return schema.safeParse([]).success ? 'list' : 'value'
}

const defaultOf = (schema: z.ZodType): unknown => schema.safeParse(undefined).data

function flagSyntax (section: SettingsSection, key: string, schema: z.ZodType): string {
  const flag = flagOf(section, key, schema)
  if (kindOf(schema) === 'switch') return flag
  return `${flag} <${placeholderOf(schema)}>`
}

function placeholderOf (schema: z.ZodType): string {
  const placeholder = schema.meta()?.['placeholder']
  if (typeof placeholder === 'string') return placeholder
  if (kindOf(schema) === 'list') return 'text'
  return typeof defaultOf(schema) === 'number' ? 'number' : allowedValues(schema).includes(', ') ? 'choice' : 'text'
}

function helpOf (section: SettingsSection, key: string, schema: z.ZodType): string {
  const kind = kindOf(schema)
  const value = defaultOf(schema)
  const notes = [`env: ${variableOf(section, key)}${kind === 'switch' ? `=${String(value !== true)}` : ''}`]
  if (kind === 'list') notes.unshift('repeatable; comma-separated in the variable')
  if (Array.isArray(value) && value.length > 0) notes.unshift(`default: ${value.join(', ')}`)
  if (kind === 'value' && schema.meta()?.['placeholder'] === undefined && allowedValues(schema).startsWith('one of ')) notes.unshift(allowedValues(schema))
  if (kind === 'value' && (value !== undefined || schema instanceof z.ZodPrefault)) notes.unshift(`default: ${String(value ?? 'auto')}`)
  return `${schema.description ?? ''} (${notes.join('; ')})`
}
