/** What becomes of the matches when text is split at a pattern: Hugging Face's `SplitDelimiterBehavior`. */
export type SplitBehavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous'

interface Stretch {
  readonly text: string
  readonly matches: boolean
}

/**
 * The text in pieces, without empty ones.
 * @param pattern with the flag `g`
 * @param invert what the pattern does not match is what counts as a match
 */
export function splitText (text: string, pattern: RegExp, behavior: SplitBehavior, invert: boolean): readonly string[] {
  if (behavior === 'Isolated' || (behavior === 'Removed' && invert)) {
    // Most patterns match all of a text, and then the matches are the pieces.
    const found = text.match(pattern) ?? []
    if (behavior === 'Removed' || lengthOf(found) === text.length) return found.filter(piece => piece !== '')
  }
  return join(stretches(text, pattern, invert), behavior)
}

function lengthOf (pieces: readonly string[]): number {
  let length = 0
  for (const piece of pieces) length += piece.length
  return length
}

function stretches (text: string, pattern: RegExp, invert: boolean): Stretch[] {
  const found: Stretch[] = []
  let done = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    if (index > done) found.push({ text: text.slice(done, index), matches: invert })
    if (match !== '') found.push({ text: match, matches: !invert })
    done = index + match.length
  }
  if (done < text.length) found.push({ text: text.slice(done), matches: invert })
  return found
}

function join (found: readonly Stretch[], behavior: SplitBehavior): string[] {
  switch (behavior) {
    case 'Removed': return found.filter(({ matches }) => !matches).map(({ text }) => text)
    case 'Isolated': return found.map(({ text }) => text)
    case 'MergedWithPrevious': return merge(found, 'forwards', (one, before) => one && !before)
    case 'MergedWithNext': return merge(found, 'backwards', (one, before) => one && !before)
    case 'Contiguous': return merge(found, 'forwards', (one, before) => one === before)
  }
}

/** Adds a stretch to the piece before it (going backwards: behind it) where `joins` says so of the two, that they match or do not. */
function merge (found: readonly Stretch[], direction: 'forwards' | 'backwards', joins: (one: boolean, before: boolean) => boolean): string[] {
  const forwards = direction === 'forwards'
  const pieces: string[] = []
  let before = false
  for (const { text, matches } of forwards ? found : found.toReversed()) {
    const last = joins(matches, before) ? pieces.pop() : undefined
    pieces.push(last === undefined ? text : forwards ? last + text : text + last)
    before = matches
  }
  return forwards ? pieces : pieces.reverse()
}
