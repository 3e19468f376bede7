import { z } from 'zod'

/** What a setting's schema takes, in words: the sentence "it takes …" goes on with it. */
export function allowedValues (schema: z.ZodType): string {
  const allowed = schema.meta()?.['allowed']
  return typeof allowed === 'string' ? allowed : describe(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }))
}

function describe (schema: z.core.JSONSchema._JSONSchema): string {
  if (typeof schema === 'boolean') return 'anything'
  if (schema.enum !== undefined) return `one of ${schema.enum.map(String).join(', ')}`
  if (schema.const !== undefined) return String(schema.const)
  if (schema.anyOf !== undefined) return schema.anyOf.map(describe).join(', or ')
  switch (schema.type) {
    case 'integer': return `an integer${range(schema)}`
    case 'number': return `a number${range(schema)}`
    case 'boolean': return 'true or false'
    case 'array': return `up to ${schema.maxItems ?? 'any number of'} texts`
    default: return schema.maxLength === undefined ? 'a text' : `a text of up to ${schema.maxLength} characters`
  }
}

function range ({ minimum, maximum }: z.core.JSONSchema.JSONSchema): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`
  return minimum === undefined ? '' : ` from ${minimum} on`
}
