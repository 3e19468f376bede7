import t from 'tap'
import type { EvalDocument } from '../../apps/server/src/eval/document.ts'
import { SeededStream } from '../../apps/server/src/eval/seeded-stream.ts'
import { arithmetic } from '../../apps/server/src/eval/tasks/arithmetic.ts'
import { extract } from '../../apps/server/src/eval/tasks/extract.ts'
import { fillerStory } from '../../apps/server/src/eval/tasks/filler-prose.ts'
import { lines } from '../../apps/server/src/eval/tasks/lines.ts'
import { memory } from '../../apps/server/src/eval/tasks/memory.ts'
import { needle } from '../../apps/server/src/eval/tasks/needle.ts'
import { string } from '../../apps/server/src/eval/tasks/string.ts'
import { talk } from '../../apps/server/src/eval/tasks/talk.ts'
import { tool } from '../../apps/server/src/eval/tasks/tool.ts'
import { WORDS } from '../../apps/server/src/eval/vocabulary.ts'

const ROUNDS = 300
const short = { extract, tool, arithmetic, string, memory, talk }
const generators: Record<string, (random: SeededStream) => EvalDocument> = {
  ...short,
  lines: random => lines(random, 1024),
  needle: random => needle(random, { length: 1024, charactersPerToken: 3 })
}

/** `ROUNDS` documents, each with where it came from. */
function * documents (generate: (random: SeededStream) => EvalDocument): Generator<readonly [EvalDocument, string]> {
  for (let round = 0; round < ROUNDS; round++) yield [generate(new SeededStream(7, round)), `seed 7/${round}`]
}

function match (text: string | undefined, pattern: RegExp): string[] {
  const found = pattern.exec(text ?? '')
  if (found === null) throw new Error(`${JSON.stringify(text)} is not ${pattern}`)
  return found.slice(1)
}

t.test('a document depends on the labels of its stream alone', async t => {
  for (const [name, generate] of Object.entries(generators)) {
    t.same(generate(new SeededStream(1, name, 3)), generate(new SeededStream(1, name, 3)), `${name}: the same`)
    const different = new Set(Array.from({ length: 20 }, (_, number) => JSON.stringify(generate(new SeededStream(1, name, number)))))
    t.ok(different.size > 3, `${name}: ${different.size} of 20 differ`)
  }
})

t.test('every document is a conversation that begins at BOS and asks something', async t => {
  for (const [name, generate] of Object.entries(generators)) {
    for (const [document, seed] of documents(generate)) {
      const wellFormed = document.prefix.startsWith('<|bos|>') && document.turns.length > 0 &&
        document.turns.every(({ context, answer }) => /^<\|(user|tool)\|>.+<\|assistant\|>$/s.test(context) && answer !== '' && !answer.includes('<|'))
      if (!wellFormed) t.fail(`${name}, ${seed}: ${JSON.stringify(document)}`)
    }
  }
  t.pass()
})

t.test('lines are keyed once each, and every question\'s answer is in its line', async t => {
  for (const [document, seed] of documents(random => lines(random, 512))) {
    const rows = [...document.prefix.matchAll(/line (\S+-\S+): (\d{5})\n/g)].map(row => [row[1], row[2]] as const)
    const valueOf = new Map(rows)
    if (valueOf.size !== rows.length || rows.length < 3) t.fail(seed)
    for (const { context, answer } of document.turns) {
      const [key = ''] = match(context, /^<\|user\|>What is line (\S+)\?<\|assistant\|>$/)
      if (valueOf.get(key) !== answer) t.fail(`${seed}: ${key}`)
    }
    if (document.turns.length < 5 || document.turns.length > 12) t.fail(`${seed}: ${document.turns.length} questions`)
  }
  t.pass()
})

t.test('the smallest lines document still has three lines', async t => {
  t.equal([...lines(new SeededStream(1), 1).prefix.matchAll(/line /g)].length, 3)
})

t.test('needles are in the prose and answered in full, anywhere or at a chosen depth', async t => {
  const counts = new Set<number>()
  for (const [document, seed] of documents(random => needle(random, { length: 1024, charactersPerToken: 3 }))) {
    counts.add(document.turns.length)
    for (const { context, answer } of document.turns) {
      const [key] = match(context, /^<\|user\|>What is the secret number of (\S+)\?<\|assistant\|>$/)
      if (!document.prefix.includes(`The secret number of ${key} is ${answer}. Remember it.\n`)) t.fail(seed)
    }
    if (/\d/.test(document.prefix.replaceAll(/number of \S+ is \d{5}/g, ''))) t.fail(`${seed}: digits in the filler`)
  }
  t.same([...counts].sort(), [1, 2, 3, 4, 5, 6])
  for (const depth of [0, 0.25, 0.5, 1]) {
    const { prefix, turns } = needle(new SeededStream(2), { length: 4096, charactersPerToken: 3, depth })
    t.equal(turns.length, 1)
    const at = prefix.indexOf('The secret number') / prefix.length
    t.ok(Math.abs(at - depth) < 0.08, `asked for ${depth}, lies at ${at.toFixed(3)}`)
  }
})

t.test('filler stories are plain prose', async t => {
  for (let round = 0; round < ROUNDS; round++) {
    const story = fillerStory(new SeededStream(3, round))
    if (!/^[A-Z"][A-Za-z ,.!?"]+[.!"]$/.test(story) || story.includes('undefined') || /\b(a|A) [aeiou]/.test(story)) t.fail(story)
  }
  t.pass()
})

t.test('extracted JSON has the wanted fields of the record, in the order asked for', async t => {
  for (const [{ turns: [turn] }, seed] of documents(extract)) {
    const [record = '', wanted = ''] = match(turn?.context, /Record: (.+)\. Give (.+) as JSON\./)
    const fields = new Map(record.split(', ').map(field => [field.slice(0, field.indexOf(' ')), field.slice(field.indexOf(' ') + 1)] as const))
    const answer: Record<string, unknown> = JSON.parse(turn?.answer ?? '')
    if (fields.size !== 5 || Object.keys(answer).join(', ') !== wanted) t.fail(seed)
    for (const [name, value] of Object.entries(answer)) if (String(value) !== fields.get(name)) t.fail(`${seed}: ${name}`)
    if (turn?.answer !== JSON.stringify(answer)) t.fail(`${seed}: compact JSON`)
  }
  t.pass()
})

t.test('the tool called is on offer, has the arguments the question gives, and its result is passed on', async t => {
  for (const [{ prefix, turns: [call, last] }, seed] of documents(tool)) {
    const [json = ''] = match(call?.answer, /^<tool_call>(.+)<\/tool_call>$/)
    const { name, arguments: given }: { name: string, arguments: Record<string, string> } = JSON.parse(json)
    if (!prefix.includes(`${name}(${Object.keys(given).join(',')})`)) t.fail(`${seed}: ${name} is not offered`)
    if (!Object.values(given).every(value => call?.context.includes(value))) t.fail(`${seed}: ${json}`)
    const [result] = match(last?.context, /^<\|tool\|>(\S+)<\|end\|><\|assistant\|>$/)
    if (last?.answer !== `The answer is ${result}.`) t.fail(seed)
  }
  t.pass()
})

t.test('sums and differences are right and never negative', async t => {
  let numSums = 0
  for (const [{ turns: [turn] }, seed] of documents(arithmetic)) {
    const [a, sign, b] = match(turn?.context, /^<\|user\|>(?:What is )?(\d+) ?([+-]) ?(\d+)(?: = \?|\?|=)<\|assistant\|>$/)
    const expected = sign === '+' ? Number(a) + Number(b) : Number(a) - Number(b)
    if (String(expected) !== turn?.answer || expected < 0) t.fail(seed)
    if (sign === '+') numSums++
  }
  t.ok(numSums > 0.5 * ROUNDS && numSums < 0.7 * ROUNDS, `${numSums} of ${ROUNDS} are sums`)
})

t.test('words are changed as the question says', async t => {
  const seen = new Set<string>()
  for (const [{ turns: [turn] }, seed] of documents(string)) {
    const [name = '', text = ''] = match(turn?.context, /^<\|user\|>([A-Za-z ]+): ([a-z ]+)<\|assistant\|>$/)
    seen.add(name)
    const words = text.split(' ')
    const expected: Record<string, string> = {
      Repeat: text,
      Uppercase: text.toUpperCase(),
      'Reverse the words of': [...words].reverse().join(' '),
      'Count the words of': `${words.length}`,
      Sort: [...words].sort().join(' ')
    }
    if (expected[name] !== turn?.answer || words.length > 6 || !words.every(word => WORDS.includes(word))) t.fail(seed)
  }
  t.equal(seen.size, 5)
})

t.test('what was told last is what is remembered', async t => {
  for (const [{ turns }, seed] of documents(memory)) {
    const facts = new Map<string, string>()
    const asked = new Set<string>()
    for (const { context, answer } of turns) {
      const told = /^<\|user\|>My (\w+) is called (\w+)\./.exec(context)
      if (told !== null) {
        facts.set(told[1] ?? '', told[2] ?? '')
        if (answer !== `I will remember that your ${told[1]} is called ${told[2]}.`) t.fail(seed)
      } else {
        const [kind = ''] = match(context, /^<\|user\|>What is my (\w+) called\?/)
        asked.add(kind)
        if (answer !== `Your ${kind} is called ${facts.get(kind)}.`) t.fail(seed)
      }
    }
    if (asked.size !== Math.min(3, facts.size)) t.fail(`${seed}: ${asked.size} asked of ${facts.size}`)
  }
  t.pass()
})

t.test('the stream\'s integers reach both ends, and its samples repeat nothing', async t => {
  const random = new SeededStream('ends')
  const drawn = Array.from({ length: 500 }, () => random.integer(-2, 2))
  t.same([...new Set(drawn)].sort((a, b) => a - b), [-2, -1, 0, 1, 2])
  t.equal(random.integer(4, 4), 4)
  t.equal(new Set(random.sample([1, 2, 3, 4], 4)).size, 4)
  t.equal(random.sample([[1], [2]], 9).length, 2)
  t.throws(() => random.pick([]), new RangeError('cannot pick from nothing'))
  const mean = Array.from({ length: 4000 }, () => random.uniform()).reduce((sum, value) => sum + value) / 4000
  t.ok(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`)
})
