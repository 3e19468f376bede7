import { NODES_AT_A_TIME } from './prefix-tree.ts'
import type { PrefixNode } from './prefix-tree.ts'

/**
 * Makes the nodes right below the root as long as pays, so that one level of sharing catches nearly all that several would: from the
 * leaves up, a grandchild leaves its parent when what its prompts then share beyond their first outweighs the parent's tokens, which
 * are computed once more for it. Changes the tree: siblings may begin alike afterwards. Prompts stay whole. Less than a millisecond at
 * a time; the tree is neither what it was nor what it will be until the end.
 * @see BatchLLM (arXiv 2412.03594), first-level enlargement
 */
export function * enlargeFirstLevel (root: PrefixNode): Generator<void, void> {
  let numLeft = NODES_AT_A_TIME
  for (const node of yield * nodesFromBelow(root)) {
    numLeft -= 1 + node.children.length
    enlarge(node)
    if (numLeft > 0) continue
    numLeft = NODES_AT_A_TIME
    yield
  }
}

function enlarge (node: PrefixNode): void {
  const children: PrefixNode[] = []
  for (const child of node.children) {
    const kept: PrefixNode[] = []
    let numLeft = child.children.length
    for (const grandchild of child.children) {
      // The last one needs no copy of the child's tokens: it takes them along, below.
      const isLast = numLeft === 1 && child.prompts.length === 0
      if (!isLast && gainOf(grandchild, child) > 0) {
        grandchild.start = child.start
        child.numPrompts -= grandchild.numPrompts
        children.push(grandchild)
        numLeft--
      } else {
        kept.push(grandchild)
      }
    }
    child.children = kept
    children.push(absorbed(child))
  }
  node.children = children
}

/** Prompt tokens saved by forking a grandchild out of its parent. */
function gainOf (grandchild: PrefixNode, child: PrefixNode): number {
  return (grandchild.numPrompts - 1) * (grandchild.end - grandchild.start) - (child.end - child.start)
}

/** A node that only leads to one other is that other, with more tokens. */
function absorbed (node: PrefixNode): PrefixNode {
  const [only, ...others] = node.children
  if (only === undefined || others.length > 0 || node.prompts.length > 0) return node
  only.start = node.start
  return only
}

/** Every node behind all those below it. Not recursive: trees can be as deep as prompts are long. */
function * nodesFromBelow (root: PrefixNode): Generator<void, PrefixNode[]> {
  const nodes: PrefixNode[] = []
  const open = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    nodes.push(node)
    if (nodes.length % NODES_AT_A_TIME === 0) yield
    for (const child of node.children) open.push(child)
  }
  return nodes.reverse()
}
