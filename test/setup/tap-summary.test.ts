import t from 'tap'
import { TapSummary } from '../../deploy/setup/tap-summary.mjs'

function summarize (tap: string) {
  const printed: string[] = []
  const summary = new TapSummary((line: string) => printed.push(line))
  for (const line of tap.split('\n')) summary.push(line)
  return { passed: summary.passed, failed: summary.failed, skipped: summary.skipped, printed: printed.join('\n') }
}

t.test('a test counts once, however many assertions and subtests it holds', async t => {
  const { passed, failed, printed } = summarize(`TAP version 14
# Subtest: test/a.test.ts
    # Subtest: adds
        ok 1 - should be equal
        # Subtest: negative numbers
            ok 1 - should be equal
            1..1
        ok 2 - negative numbers # time=1ms
        1..2
    ok 1 - adds # time=2ms

    ok 2 - a bare assertion
    1..2
ok 1 - test/a.test.ts # time=5ms
1..1`)
  t.strictSame([passed, failed], [2, 0])
  t.match(printed, /^ok {3}test\/a\.test\.ts {2}2 passed, 5ms$/m)
})

t.test('a failing test is told by its innermost assertion, and counts once', async t => {
  const { passed, failed, printed } = summarize(`# Subtest: test/a.test.ts
    # Subtest: adds
        not ok 1 - should be equal
          ---
          diff: |
            -1
            +2
          ...
        1..1
    not ok 1 - adds # time=2ms
      ---
      at:
        lineNumber: 3
      ...
    1..1
not ok 1 - test/a.test.ts # time=5ms
  ---
  exitCode: 1
  ...`)
  t.strictSame([passed, failed], [0, 1])
  t.match(printed, 'failed: test/a.test.ts › adds › should be equal')
  t.match(printed, '+2')
  t.notMatch(printed, 'lineNumber')
  t.match(printed, /^FAIL test\/a\.test\.ts/m)
})

t.test('a file that crashes or holds no test is one failure', async t => {
  const crashed = summarize(`# Subtest: test/a.test.ts
    ok 1 - adds # time=2ms
    # test count(1) != plan(null)
not ok 1 - test/a.test.ts # time=5ms
  ---
  command: node
  signal: SIGSEGV
  ...`)
  t.strictSame([crashed.passed, crashed.failed], [1, 1])
  t.match(crashed.printed, 'signal: SIGSEGV')
  t.notMatch(crashed.printed, 'command')
  const empty = summarize(`# Subtest: test/a.test.ts
    1..0 # no tests found
ok 1 - test/a.test.ts # SKIP no tests found`)
  t.strictSame([empty.passed, empty.failed, empty.skipped], [0, 1, 0])
})

t.test('a skipped test is neither passed nor failed, and its reason is told', async t => {
  const { passed, failed, skipped, printed } = summarize(`# Subtest: test/a.test.ts
    ok 1 - multiplies on tensor cores # SKIP the adapter has none
    not ok 2 - divides # TODO
    1..2
ok 1 - test/a.test.ts # time=5ms`)
  t.strictSame([passed, failed, skipped], [0, 0, 2])
  t.match(printed, 'skipped: test/a.test.ts › multiplies on tensor cores (the adapter has none)')
})
