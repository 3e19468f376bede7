import { join } from 'node:path'
import { readJsonFile } from '../weights/read-json-file.ts'
import { parseModelConfig } from './model-config.ts'
import type { ModelConfig } from './model-config.ts'

// Real ones have a few kilobytes.
const MAX_CONFIG_BYTES = 1 << 20

/**
 * The configuration in a Hugging Face model directory.
 * @throws InvalidCheckpointError when there is no readable `config.json`; and what {@link parseModelConfig} throws
 */
export async function readModelConfig (directory: string): Promise<ModelConfig> {
  return parseModelConfig(await readJsonFile(join(directory, 'config.json'), MAX_CONFIG_BYTES))
}
