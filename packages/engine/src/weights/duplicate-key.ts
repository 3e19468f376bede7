/**
 * The first key that occurs twice in one object of a JSON text, or undefined. `JSON.parse` keeps the last one silently,
 * and two readers that disagree on which counts can be made to see two different files.
 * @param json text that `JSON.parse` accepts
 */
export function duplicateKey (json: string): string | undefined {
  // One set of keys per open object, undefined per open array.
  const open: Array<Set<string> | undefined> = []
  for (let at = 0; at < json.length; at++) {
    const character = json[at]
    if (character === '{') open.push(new Set())
    else if (character === '[') open.push(undefined)
    else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const end = endOfString(json, at)
      if (isKey(json, end)) {
        const key = String(JSON.parse(json.slice(at, end)))
        const keys = open.at(-1)
        if (keys?.has(key) === true) return key
        keys?.add(key)
      }
      at = end - 1
    }
  }
  return undefined
}

/** The index after the closing quote of the string that opens at `start`. */
function endOfString (json: string, start: number): number {
  let at = start + 1
  while (at < json.length && json[at] !== '"') at += json[at] === '\\' ? 2 : 1
  return at + 1
}

/** Whether a colon follows; only keys have one. */
function isKey (json: string, end: number): boolean {
  let at = end
  while (json[at] === ' ' || json[at] === '\n' || json[at] === '\r' || json[at] === '\t') at++
  return json[at] === ':'
}
