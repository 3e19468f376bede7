/**
 * Which way imports point (ARCHITECTURE.md):
 *
 *   apps/server → packages/scheduler → packages/engine (./contract, types only) → packages/kvcache
 *
 * The server sees the whole engine only where an engine is built: its child process, the benchmarks, the evaluations and the inspection.
 * @type {import('dependency-cruiser').IConfiguration}
 */
module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      comment: 'Two files that need each other are one idea, or hide a third.',
      severity: 'error',
      from: {},
      to: { circular: true }
    },
    {
      name: 'no-orphans',
      comment: 'A file that nothing imports and that is no entry point is dead.',
      severity: 'error',
      from: {
        orphan: true,
        pathNot: [
          '\\.d\\.ts$',
          '^packages/[^/]+/src/(index|contract)\\.ts$',
          '^apps/server/src/(main|index)\\.ts$',
          '^test/.*\\.test\\.ts$',
          '^test/fixtures/',
          '-(worker|process)\\.ts$'
        ]
      },
      to: {}
    },
    {
      name: 'resolvable',
      comment: 'Every import names something that is declared and installed.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true }
    },
    {
      name: 'declared-dependencies',
      comment: 'A package imports only what its own package.json names.',
      severity: 'error',
      from: { path: '^(apps|packages|test)/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'unknown'] }
    },
    {
      name: 'production-code-needs-no-dev-dependencies',
      severity: 'error',
      from: { path: '^(apps|packages)/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only', 'npm-peer'] }
    },
    {
      name: 'kvcache-is-the-leaf',
      comment: 'Numbers in, numbers out: the KV accounting knows nobody else in the house.',
      severity: 'error',
      from: { path: '^packages/kvcache/' },
      to: { path: '^(apps|packages/(engine|scheduler)|test)/' }
    },
    {
      name: 'engine-looks-down-only',
      severity: 'error',
      from: { path: '^packages/engine/' },
      to: { path: '^(apps|packages/scheduler|test)/' }
    },
    {
      name: 'scheduler-looks-down-only',
      severity: 'error',
      from: { path: '^packages/scheduler/' },
      to: { path: '^(apps|test)/' }
    },
    {
      name: 'scheduler-sees-only-the-contract',
      comment: 'The scheduler knows the engine as an interface, so a fake runner can drive every scheduling test.',
      severity: 'error',
      from: { path: '^packages/scheduler/' },
      to: { path: '^packages/engine/', pathNot: '^packages/engine/src/contract\\.ts$' }
    },
    {
      name: 'contract-is-types',
      comment: 'Importing the contract must load no GPU code, so only its types may be imported.',
      severity: 'error',
      from: { path: '^(packages/scheduler|apps)/' },
      to: { path: '^packages/engine/src/contract\\.ts$', dependencyTypesNot: ['type-only'] }
    },
    {
      name: 'server-builds-an-engine-in-few-places',
      comment: 'The server process never touches the GPU: only the engine process, bench, eval and inspect load the engine. Headers of GGUF files are read without one.',
      severity: 'error',
      from: { path: '^apps/server/', pathNot: '^apps/server/src/(engine-process|bench|eval|inspect)/' },
      to: { path: '^packages/engine/', pathNot: '^packages/engine/src/(contract|gguf)\\.ts$', dependencyTypesNot: ['type-only'] }
    },
    {
      name: 'packages-are-entered-by-the-door',
      comment: 'Another package is its exports, never a file of its src.',
      severity: 'error',
      from: { path: '^(apps|packages)/([^/]+)/' },
      to: { path: '^(apps|packages)/', pathNot: ['^$1/$2/', '^packages/[^/]+/src/index\\.ts$', '^packages/engine/src/(contract|gguf|greedy-sampling)\\.ts$'] }
    },
    {
      name: 'one-file-opens-dawn',
      comment: 'The object create() returns must outlive everything made from it; one file sees to that.',
      severity: 'error',
      from: { path: '^(apps|packages|test)/', pathNot: '^packages/engine/src/device/dawn\\.ts$' },
      to: { path: '(^|/)node_modules/webgpu/' }
    },
    {
      name: 'the-web-stays-in-the-server',
      severity: 'error',
      from: { path: '^packages/' },
      to: { path: '(^|/)node_modules/(fastify|@fastify/[^/]+|prom-client|pino|pino-pretty|ws|zod)/' }
    },
    {
      name: 'tests-use-no-web-stack-but-zod-and-ws',
      severity: 'error',
      from: { path: '^test/' },
      to: { path: '(^|/)node_modules/(fastify|@fastify/[^/]+|prom-client|pino|pino-pretty)/', dependencyTypesNot: ['type-only'] }
    },
    {
      name: 'nothing-imports-tests',
      severity: 'error',
      from: { path: '^(apps|packages)/' },
      to: { path: '^test/' }
    },
    {
      name: 'nothing-imports-a-test-file',
      severity: 'error',
      from: {},
      to: { path: '\\.test\\.ts$' }
    }
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|\\.tap|\\.cache)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['@daybreak/source', 'import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json', '.d.ts']
    },
    skipAnalysisNotInRules: true
  }
}
