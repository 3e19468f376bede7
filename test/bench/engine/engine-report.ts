import type { EngineReport } from '@daybreak/engine'

export const engineReport: EngineReport = {
  adapter: {
    name: 'Paper GPU',
    vendor: 'paper',
    architecture: 'a4',
    driver: 'pencil 2.0',
    backend: 'vulkan',
    software: true,
    features: [],
    limits: {},
    subgroupMinSize: 8,
    subgroupMaxSize: 8,
    subgroupMatrixConfigs: []
  },
  dtype: 'f16',
  architecture: 'LlamaForCausalLM',
  parameters: 10_000_000,
  weightBytes: 20_000_000,
  weightFormats: [],
  notes: [],
  kvCacheBytes: 0,
  swapSpaceBytes: 0,
  loadSeconds: 0
}
