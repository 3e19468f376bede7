import t from 'tap'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { familyNames, readFamilyConfig, readFamilyRecording } from '../../fixtures/families/read-family.ts'

t.test('a config.json as transformers 5 saves it means the same model as the one it read', async t => {
  for (const name of familyNames) {
    const { savedConfig } = readFamilyRecording(name)
    t.strictSame({ ...parseModelConfig(savedConfig), torchDtype: undefined }, { ...parseModelConfig(readFamilyConfig(name)), torchDtype: undefined }, name)
  }
})
