/** A prompt as token ids. Typed arrays where there are many: a hundred thousand long ones are most of a batch's memory. */
export type PromptTokens = ArrayLike<number>

/**
 * A stretch of tokens that all prompts below share, and that no two siblings begin alike. Its tokens are not copied: they are
 * `start` to `end` of prompt `owner`, as of any prompt below it, since a prompt's place in the tree is its place in the prompt.
 */
export interface PrefixNode {
  owner: number
  start: number
  end: number
  children: PrefixNode[]
  /** Prompts that end here, by index. */
  prompts: number[]
  /** Prompts at this node and below. */
  numPrompts: number
}

/** While the tree grows, children are found by their first token: among thousands of them a search would be quadratic. */
type GrowingNode = Omit<PrefixNode, 'children'> & { readonly byFirstToken: Map<number, GrowingNode> }

const TOKENS_AT_A_TIME = 1 << 16
/** What a prompt costs beside its tokens, as so many of them. */
const TOKENS_PER_PROMPT = 256
/** What becomes of nodes once all are there is as little work for each. */
export const NODES_AT_A_TIME = 1 << 10

/**
 * The compact prefix tree (radix tree) of all prompts, of token granularity. Time is linear in the tokens that are shared, memory
 * in the number of prompts.
 * @returns the root: no tokens of its own, and every prompt below it
 */
export function buildPrefixTree (prompts: readonly PromptTokens[]): PrefixNode {
  const growing = growPrefixTree(prompts)
  for (;;) {
    const { done, value } = growing.next()
    if (done === true) return value
  }
}

/** `buildPrefixTree`, less than a millisecond at a time. */
export function * growPrefixTree (prompts: readonly PromptTokens[]): Generator<void, PrefixNode> {
  const root = growingNode(0, 0, 0)
  let numLeft = TOKENS_AT_A_TIME
  for (let prompt = 0; prompt < prompts.length; prompt++) {
    insert(root, prompts, prompt)
    numLeft -= TOKENS_PER_PROMPT + (prompts[prompt]?.length ?? 0)
    if (numLeft > 0) continue
    numLeft = TOKENS_AT_A_TIME
    yield
  }
  yield
  return yield * finished(root)
}

function insert (root: GrowingNode, prompts: readonly PromptTokens[], prompt: number): void {
  const tokens = prompts[prompt] ?? []
  let node = root
  let at = 0
  for (;;) {
    node.numPrompts++
    if (at === tokens.length) break
    const first = tokens[at] ?? 0
    const child = node.byFirstToken.get(first)
    if (child === undefined) {
      const leaf = growingNode(prompt, at, tokens.length)
      leaf.numPrompts = 1
      node.byFirstToken.set(first, leaf)
      node = leaf
      break
    }
    const shared = sharedLength(prompts[child.owner] ?? [], tokens, at, child.end)
    node = at + shared < child.end ? split(node, child, at + shared, prompts) : child
    at += shared
  }
  node.prompts.push(prompt)
}

/** Length of the stretch from `start` on, at most to `end`, in which both have the same tokens. */
function sharedLength (a: PromptTokens, b: PromptTokens, start: number, end: number): number {
  const last = Math.min(end, b.length)
  let at = start
  while (at < last && a[at] === b[at]) at++
  return at - start
}

/** Puts a node of the first tokens, up to `at`, in the child's place and the child below it. */
function split (parent: GrowingNode, child: GrowingNode, at: number, prompts: readonly PromptTokens[]): GrowingNode {
  const tokens = prompts[child.owner] ?? []
  const upper = growingNode(child.owner, child.start, at)
  upper.numPrompts = child.numPrompts
  parent.byFirstToken.set(tokens[child.start] ?? 0, upper)
  child.start = at
  upper.byFirstToken.set(tokens[at] ?? 0, child)
  return upper
}

function growingNode (owner: number, start: number, end: number): GrowingNode {
  return { owner, start, end, byFirstToken: new Map(), prompts: [], numPrompts: 0 }
}

/** Children as arrays, since what comes next gives a node children that begin alike. Not recursive: trees can be as deep as prompts are long. */
function * finished (root: GrowingNode): Generator<void, PrefixNode> {
  const made = withoutChildren(root)
  let numLeft = NODES_AT_A_TIME
  const open: Array<readonly [GrowingNode, PrefixNode]> = [[root, made]]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [growing, node] = next
    for (const child of growing.byFirstToken.values()) {
      const below = withoutChildren(child)
      node.children.push(below)
      open.push([child, below])
    }
    numLeft -= 1 + growing.byFirstToken.size
    growing.byFirstToken.clear()
    if (numLeft > 0) continue
    numLeft = NODES_AT_A_TIME
    yield
  }
  return made
}

function withoutChildren ({ owner, start, end, prompts, numPrompts }: GrowingNode): PrefixNode {
  return { owner, start, end, children: [], prompts, numPrompts }
}
