import type { SeededStream } from '../seeded-stream.ts'

const CREATURES = ['dog', 'cat', 'bird', 'frog', 'rabbit', 'bear', 'duck', 'lion', 'fish', 'bunny', 'boy', 'girl']
const CHARACTERS = ['Tim', 'Lily', 'Ben', 'Mia', 'Sam', 'Sue', 'Max', 'Anna', 'Tom', 'Lucy', 'Jack', 'Amy']
const MOODS = ['happy', 'little', 'kind', 'brave', 'funny', 'sleepy', 'curious', 'shy', 'big', 'clever']
const PLACES = ['the park', 'the garden', 'the forest', 'the river', 'the beach', 'the big hill', 'the old barn', 'the lake']
const THINGS = ['a red ball', 'a shiny stone', 'a small boat', 'a blue hat', 'a yellow flower', 'a wooden box', 'a soft blanket', 'a tasty cake', 'a toy truck', 'a long rope']
const DEEDS = ['play', 'run', 'sing', 'jump', 'swim', 'draw', 'dance', 'climb the tree', 'look at the clouds', 'help a friend']
const FEELINGS = ['very happy', 'a bit sad', 'so excited', 'very tired', 'proud', 'surprised', 'scared', 'thankful']

interface Cast {
  readonly hero: string
  readonly friend: string
  readonly creature: string
}

const OPENINGS: ReadonlyArray<(random: SeededStream, cast: Cast) => string> = [
  (random, { hero, creature }) => `Once upon a time, there was a ${random.pick(MOODS)} ${creature} named ${hero}.`,
  (random, { hero }) => `One day, ${hero} went to ${random.pick(PLACES)} with ${random.pick(['Mom', 'Dad', 'Grandma', 'a friend'])}.`,
  (random, { hero, creature }) => `${hero} was a ${creature} who liked to ${random.pick(DEEDS)}.`
]

const EVENTS: ReadonlyArray<(random: SeededStream, cast: Cast) => string> = [
  (random, { hero }) => `${hero} found ${random.pick(THINGS)} near ${random.pick(PLACES)}.`,
  (random, { hero, friend }) => `"Hello, ${friend}! Do you want to ${random.pick(DEEDS)} with me?" asked ${hero}.`,
  (random, { hero, friend }) => `${friend} smiled and said, "Yes, ${hero}, I would like that."`,
  (random, { hero }) => `It started to rain, and ${hero} was ${random.pick(FEELINGS)}.`,
  (random, { friend }) => `${friend} had ${random.pick(THINGS)} and wanted to share it.`,
  (random, { hero, friend }) => `${hero} and ${friend} walked to ${random.pick(PLACES)} to ${random.pick(DEEDS)}.`,
  (random, { hero }) => `But ${hero} could not find ${random.pick(THINGS)} anywhere.`,
  (random, { friend }) => `"Do not worry," said ${friend}. "We can look for it together."`,
  (random) => `They looked under ${random.pick(['the tree', 'the bed', 'the table', 'the bridge'])} and behind ${random.pick(['the door', 'the house', 'a bush', 'the fence'])}.`,
  (random, { hero }) => `${hero} felt ${random.pick(FEELINGS)} and gave ${random.pick(['Mom', 'Dad', 'Grandma'])} a big hug.`,
  (random) => `The sun was warm and the birds began to ${random.pick(['sing', 'fly away', 'play'])}.`
]

const ENDINGS: ReadonlyArray<(random: SeededStream, cast: Cast) => string> = [
  (random, { hero, friend }) => `From that day on, ${hero} and ${friend} were ${random.pick(['best friends', 'good friends'])}.`,
  (random, { hero }) => `${hero} went home and fell asleep, ${random.pick(FEELINGS)}.`,
  (random) => `They all laughed and went back to ${random.pick(PLACES)}.`
]

/** A little story of 6 to 14 plain sentences in the manner of those the embedded model was trained on. No digits in it. */
export function fillerStory (random: SeededStream): string {
  const [hero = 'Tim', friend = 'Lily'] = random.sample(CHARACTERS, 2)
  const cast: Cast = { hero, friend, creature: random.pick(CREATURES) }
  const events = Array.from({ length: random.integer(4, 12) }, () => random.pick(EVENTS))
  return [random.pick(OPENINGS), ...events, random.pick(ENDINGS)].map(sentence => sentence(random, cast)).join(' ')
}
