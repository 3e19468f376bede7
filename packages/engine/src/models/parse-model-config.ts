import { InvalidModelConfigError, UnsupportedModelError } from '../errors.ts'
import { MODEL_FAMILIES, SUPPORTED_ARCHITECTURES } from './families/index.ts'
import type { ModelFamily } from './families/model-family.ts'
import { JsonFields } from './json-fields.ts'
import type { ModelConfig } from './model-config.ts'

/**
 * Reads the contents of a Hugging Face `config.json`.
 * @throws InvalidModelConfigError for a value that no model could mean
 * @throws UnsupportedModelError for an architecture, or anything of a known one that changes the computation, that is not implemented
 */
export function parseModelConfig (json: unknown): ModelConfig {
  const architecture = readArchitecture(JsonFields.of(json, ''))
  const family = familyOf(architecture)
  return family.parse(architecture, JsonFields.of(json, '', family.defaults))
}

/** The family of an architecture. @throws UnsupportedModelError naming the known ones */
export function familyOf (architecture: string): ModelFamily {
  const family = MODEL_FAMILIES.find(({ architectures }) => architectures.includes(architecture))
  if (family === undefined) throw new UnsupportedModelError({ field: 'architectures', value: [architecture], supported: SUPPORTED_ARCHITECTURES.join(', ') })
  return family
}

function readArchitecture (fields: JsonFields): string {
  const architectures = fields.get('architectures')
  if (!Array.isArray(architectures) || architectures.length === 0 || typeof architectures[0] !== 'string') {
    throw new InvalidModelConfigError({ field: 'architectures', value: architectures, expected: 'a list with one architecture' })
  }
  if (architectures.length > 1) throw new UnsupportedModelError({ field: 'architectures', value: architectures, supported: 'one architecture' })
  return architectures[0]
}
