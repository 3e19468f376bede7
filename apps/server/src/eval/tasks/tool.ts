import { about, ASSISTANT, ask, END, TOOL, type EvalDocument } from '../document.ts'
import type { SeededStream } from '../seeded-stream.ts'
import { CITIES, NAMES, randomKey } from '../vocabulary.ts'

type Argument = 'city' | 'name' | 'key' | 'minutes'

interface ToolDefinition {
  readonly name: string
  readonly parameters: readonly Argument[]
  /** Two ways to ask for it. */
  readonly asks: ReadonlyArray<(value: Readonly<Record<Argument, string>>) => string>
}

const TOOLS: readonly ToolDefinition[] = [
  {
    name: 'get_weather',
    parameters: ['city'],
    asks: [({ city }) => `How is the weather in ${city}?`, ({ city }) => `What is the weather like in ${city}?`]
  },
  {
    name: 'book_room',
    parameters: ['city', 'name'],
    asks: [({ city, name }) => `Book a room in ${city} for ${name}.`, ({ city, name }) => `Please book a room for ${name} in ${city}.`]
  },
  {
    name: 'find_line',
    parameters: ['key'],
    asks: [({ key }) => `Find line ${key}.`, ({ key }) => `Look up line ${key}.`]
  },
  {
    name: 'set_timer',
    parameters: ['minutes'],
    asks: [({ minutes }) => `Set a timer of ${minutes} minutes.`, ({ minutes }) => `Set a timer for ${minutes} minutes.`]
  },
  {
    name: 'send_note',
    parameters: ['name', 'key'],
    asks: [({ name, key }) => `Send ${name} a note about ${key}.`, ({ name, key }) => `Write a note about ${key} to ${name}.`]
  }
]

/** Two to five tools on offer; one is asked for, called, answers with a key, and the key is passed on: two answers to check. */
export function tool (random: SeededStream): EvalDocument {
  const offered = random.sample(TOOLS, random.integer(2, TOOLS.length))
  const wanted = random.pick(offered)
  const values: Record<Argument, string> = {
    city: random.pick(CITIES),
    name: random.pick(NAMES),
    key: randomKey(random),
    minutes: String(random.integer(1, 59))
  }
  const call = { name: wanted.name, arguments: Object.fromEntries(wanted.parameters.map(name => [name, values[name]])) }
  const result = randomKey(random)
  return about(`Tools: ${offered.map(({ name, parameters }) => `${name}(${parameters.join(',')})`).join(', ')}`, [
    ask(random.pick(wanted.asks)(values), `<tool_call>${JSON.stringify(call)}</tool_call>`),
    { context: `${TOOL}${result}${END}${ASSISTANT}`, answer: `The answer is ${result}.` }
  ])
}
