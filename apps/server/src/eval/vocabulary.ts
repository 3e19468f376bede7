/** The words that the embedded model was trained on: the tasks ask about nothing else. */
/** Keys are two of them, and the word tasks change them. */
export const WORDS = `
  amber anchor apple arrow aspen autumn badge bamboo basin beacon berry birch blaze bloom bridge bronze brook cabin
  camel candle canyon carbon castle cedar cherry cliff clover cobalt comet copper coral cotton crane creek crystal dawn
  delta desert dolphin dragon dune eagle echo ember falcon feather fern field flame flint forest fossil fox frost galaxy
  garden garnet ginger glacier grove gull hammer harbor hazel heron hill honey horizon indigo iris iron island ivory
  jade jasper jungle juniper kettle lagoon lake lantern lark laurel lemon lily linen lotus lunar magnet maple marble
  meadow mesa mint mirror moss mountain nectar needle nickel north oak oasis ocean olive onyx opal orbit orchid otter
  owl oxide palm panda paper pearl pebble pepper pine planet plum pond poppy prairie quartz quill rabbit rain raven reef
  ridge river robin rocket rose ruby saddle saffron sage sail salmon sand scarlet shadow shell silver sky slate snow
  solar sparrow spice spring spruce star stone storm summit sunset swan tempest thistle thunder tiger timber topaz torch
  tower trail tulip tundra turtle umber valley velvet violet walnut water wave west whale wheat willow wind winter wolf
  wren yarrow zephyr zinc
`.trim().split(/\s+/)

/** People. */
export const NAMES = `
  Ann Ben Cara Dan Eva Finn Gail Hugo Ida Jack Kim Leo Mia Ned Olga Paul Quin Rosa Sam Tess Uma Vic Wes Xena Yara Zoe
`.trim().split(/\s+/)

/** Places. */
export const CITIES = `
  Oslo Paris Lima Cairo Quito Tokyo Delhi Rome Berlin Madrid Dublin Lagos Hanoi Seoul Kyoto Accra Porto Turin Malmo
  Basel
`.trim().split(/\s+/)

/** `amber-anchor`: what lines, numbers and records are known by. */
export function randomKey (random: { pick (words: readonly string[]): string }): string {
  return `${random.pick(WORDS)}-${random.pick(WORDS)}`
}

/** Five digits, as text. */
export function randomNumber (random: { integer (low: number, high: number): number }): string {
  return String(random.integer(10000, 99999))
}
