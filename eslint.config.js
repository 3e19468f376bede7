// neostandard's formatting and correctness rules, plus the house rules of STYLE.md that a linter can see.
// Import directions are dependency-cruiser's; file lengths and names are test/setup/house-rules.test.ts's.
import neostandard, { plugins } from 'neostandard'

const environmentIsReadAtTheEdge = 'Settings are parsed once, in apps/server/src/main.ts, and handed on as arguments.'

export default [
  // No comment may switch a rule off: a rule that is wrong is changed here, for everybody.
  { linterOptions: { noInlineConfig: true, reportUnusedDisableDirectives: 'error' } },
  ...neostandard({
    ts: true,
    noJsx: true,
    filesTs: ['apps/**/*.ts', 'packages/**/*.ts', 'test/**/*.ts'],
    ignores: ['**/node_modules/**', '**/dist/**', '**/.tap/**', '**/.cache/**', '**/.carry/**']
  }),
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': plugins['typescript-eslint'].plugin },
    rules: {
      // A promise that nobody awaits is marked as meant: `void promise`.
      'no-void': ['error', { allowAsStatement: true }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/ban-ts-comment': ['error', { 'ts-expect-error': 'allow-with-description', 'ts-ignore': true, 'ts-nocheck': true }],
      '@typescript-eslint/consistent-type-imports': ['error', { prefer: 'type-imports', fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { args: 'after-used', argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all' }]
    }
  },
  {
    files: ['apps/**/*.ts', 'packages/**/*.ts'],
    ignores: ['apps/server/src/main.ts'],
    rules: {
      'no-restricted-properties': ['error',
        { object: 'process', property: 'env', message: environmentIsReadAtTheEdge },
        { object: 'process', property: 'argv', message: environmentIsReadAtTheEdge }
      ],
      'no-restricted-imports': ['error', {
        paths: [
          { name: 'process', message: environmentIsReadAtTheEdge },
          { name: 'node:process', message: environmentIsReadAtTheEdge }
        ]
      }]
    }
  },
  {
    files: ['apps/**/*.ts', 'packages/**/*.ts', 'test/**/*.ts'],
    rules: {
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx'], location: 'anywhere' }]
    }
  }
]
