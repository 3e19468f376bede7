/**
 * Reads the TAP of a whole run, line by line, and tells it as people want to hear it: a line per file, what failed with
 * its reasons, and the number of tests that passed and failed. A test is what a file calls `t.test`; a file that fails
 * without naming a test (it crashed, hung, or holds no test at all) counts as one failure.
 */
export class TapSummary {
  passed = 0
  failed = 0
  skipped = 0
  #print
  #path = [] // names of the subtests around the current line, outermost (the file) first
  #file = { passed: 0, failed: 0, skipped: 0 }
  #failure // of the last `not ok` line: { depth, title }, until its YAML block has been read
  #block // lines of that YAML block
  #told = '' // title of the failure told last

  /** @param {(line: string) => void} print */
  constructor (print) {
    this.#print = print
  }

  /** @param {string} line without its newline */
  push (line) {
    if (this.#readBlock(line)) return
    const [, indent, text] = /^((?: {4})*)(.*)$/.exec(line)
    const depth = indent.length / 4
    const subtest = /^# Subtest: (.*)$/.exec(text)
    if (subtest !== null) {
      this.#path.length = depth
      this.#path.push(subtest[1])
      return
    }
    const point = /^(not )?ok\b(?: \d+)?(?: - )?(.*?)(?: # (?:(SKIP|TODO)\b ?(.*)|time=(.*)))?(?: \{)?$/.exec(text)
    if (point === null) return
    const [, not, title, directive, reason, time] = point
    const outcome = directive === undefined ? (not === undefined ? 'passed' : 'failed') : 'skipped'
    this.#failure = outcome === 'failed' ? { depth, title: [...this.#path.slice(0, depth), title].join(' › ') } : undefined
    if (depth === 1) this.#count(outcome, title, reason)
    if (depth === 0) this.#endFile(title, outcome, reason, time)
  }

  #count (outcome, title, reason) {
    this[outcome]++
    this.#file[outcome]++
    if (outcome === 'skipped') this.#print(`  skipped: ${[this.#path[0], title].join(' › ')}${reason ? ` (${reason})` : ''}`)
  }

  #endFile (name, outcome, reason, time) {
    const empty = reason === 'no tests found'
    if ((outcome === 'failed' && this.#file.failed === 0) || empty) {
      this.failed++
      this.#file.failed++
    } else if (outcome === 'skipped') this.#print(`  skipped: ${name} (${reason})`)
    const { passed, failed, skipped } = this.#file
    const counts = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`, empty && 'no tests in it', time].filter(Boolean)
    this.#print(`${failed > 0 ? 'FAIL' : 'ok  '} ${name}  ${counts.join(', ')}`)
    this.#file = { passed: 0, failed: 0, skipped: 0 }
  }

  /** A test fails with every test inside it that fails; the innermost one has the reasons, and is told alone. */
  #tell () {
    if (this.#failure === undefined || this.#told.startsWith(`${this.#failure.title} › `)) return
    const { depth, title } = this.#failure
    this.#print(`  failed: ${title}`)
    // Of a whole file it is worth knowing how it ended, not how it was started.
    const reasons = depth > 0 ? this.#block.lines : this.#block.lines.filter(line => !/^\s+(stdio|cwd|externalID|command|args|jobId|- .*):?/.test(line))
    for (const line of reasons) this.#print(line)
    this.#told = title
    this.#failure = undefined
  }

  /** Whether the line belongs to a YAML block; the block of a failure is printed at its end. */
  #readBlock (line) {
    if (this.#block !== undefined) {
      if (line.trimEnd() === `${this.#block.indent}...`) {
        this.#tell()
        this.#block = undefined
      } else this.#block.lines.push(`      ${line.slice(this.#block.indent.length)}`)
      return true
    }
    const opening = /^( {2,})---$/.exec(line.trimEnd())
    if (opening === null) return false
    this.#block = { indent: opening[1], lines: [] }
    return true
  }
}
