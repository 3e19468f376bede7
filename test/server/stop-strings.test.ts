import t from 'tap'
import { StopStringScanner } from '../../apps/server/src/text/stop-strings.ts'
import { SeededRandom } from '../fakes/seeded-random.ts'

/** The definition: the first prefix of the text that ends with a stop string, cut by the longest that it ends with. */
function cutByDefinition (text: string, stops: readonly string[]): { text: string, matched: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const longest = stops.filter(stop => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0]
    if (longest !== undefined) return { text: text.slice(0, end - longest.length), matched: longest }
  }
  return { text, matched: undefined }
}

function scan (pieces: readonly string[], stops: readonly string[]) {
  const scanner = new StopStringScanner(stops)
  const shown: string[] = []
  for (const piece of pieces) shown.push(scanner.push(piece))
  return { text: shown.join('') + scanner.flush(), matched: scanner.matched, shown }
}

/** Every way to cut `text` into pieces. */
function * chunkings (text: string): Generator<string[]> {
  for (let cuts = 0; cuts < 2 ** Math.max(0, text.length - 1); cuts++) {
    const pieces: string[] = []
    let piece = ''
    for (let i = 0; i < text.length; i++) {
      piece += text.charAt(i)
      if ((cuts & (1 << i)) === 0) continue
      pieces.push(piece)
      piece = ''
    }
    pieces.push(piece)
    yield pieces
  }
}

t.test('the text shown is the same for every way to cut it, and is what the definition says', async t => {
  const cases: ReadonlyArray<readonly [text: string, stops: readonly string[]]> = [
    ['ab</s>cd', ['</s>']],
    ['aabaabaaab', ['aabaaa']],
    ['one two', ['two', 'wo']],
    ['one two', ['ne', 'one']],
    ['abababac', ['ababac', 'bac']],
    ['no stops', []],
    ['x</s', ['</s>']],
    ['stop', ['stop']],
    ['aXbYc', ['Y', 'X']],
  ]
  for (const [text, stops] of cases) {
    const expected = cutByDefinition(text, stops)
    let numChunkings = 0
    for (const pieces of chunkings(text)) {
      numChunkings++
      const { shown: _shown, ...result } = scan(pieces, stops)
      if (result.text !== expected.text || result.matched !== expected.matched) t.strictSame({ pieces, ...result }, { pieces, ...expected })
    }
    t.equal(numChunkings, 2 ** Math.max(0, text.length - 1), `${text} with stops ${JSON.stringify(stops)}`)
  }
})

t.test('random texts over a small alphabet, with random stops and cuts, match the definition', async t => {
  const seed = 20240611
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  const word = (length: number): string => Array.from({ length }, () => random.pick(['a', 'b', 'é'])).join('')
  for (let i = 0; i < 3000; i++) {
    const text = word(random.between(0, 24))
    const stops = Array.from({ length: random.between(1, 4) }, () => word(random.between(1, 6)))
    const pieces: string[] = []
    for (let at = 0; at < text.length;) {
      const length = random.between(1, 4)
      pieces.push(text.slice(at, at + length))
      at += length
    }
    const { shown: _shown, ...result } = scan(pieces, stops)
    const expected = cutByDefinition(text, stops)
    if (result.text !== expected.text || result.matched !== expected.matched) t.strictSame({ pieces, stops, ...result }, { pieces, stops, ...expected })
  }
  t.pass('all agree')
})

t.test('nothing that may still become a stop string is shown, and everything else at once', async t => {
  const { shown } = scan(['Hello <', '/', 'b> and <', '/s'], ['</s>'])
  t.strictSame(shown, ['Hello ', '', '</b> and ', ''])
  const scanner = new StopStringScanner(['ab'])
  t.equal(scanner.push('xab'), 'x')
  t.equal(scanner.push('more'), '', 'nothing follows a match')
  t.equal(scanner.flush(), '')
})
