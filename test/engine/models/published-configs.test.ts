import t from 'tap'
import { parseModelConfig } from '../../../packages/engine/src/models/parse-model-config.ts'
import { countParameters } from '../../../packages/engine/src/models/tensor-list.ts'
import { publishedConfigs } from '../../fixtures/published-configs.ts'

for (const { model, lesson, config, parameters, expected } of publishedConfigs) {
  t.test(`${model}: ${lesson}`, async t => {
    const parsed = parseModelConfig(config)
    t.equal(countParameters(parsed), parameters)
    t.match(parsed, expected)
  })
}
