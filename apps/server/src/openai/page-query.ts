import { z } from 'zod'

/** The query of a list: which page, of which length, in which order. @see OpenAI's cursor pagination */
export function pageQuerySchema (limits: { readonly default: number, readonly max: number }) {
  return z.object({
    limit: z.coerce.number().int().min(1).max(limits.max).default(limits.default),
    after: z.string().max(256).optional(),
    order: z.enum(['asc', 'desc']).default('desc')
  })
}

export type PageQuery = z.infer<ReturnType<typeof pageQuerySchema>>

/**
 * One page of a list. A cursor that is not in it, deleted in the meantime perhaps, starts over.
 * @param items oldest first
 */
export function pageOf<Item extends { readonly id: string }, Shown> (items: readonly Item[], { limit, after, order }: PageQuery, show: (item: Item) => Shown) {
  const ordered = order === 'asc' ? items : items.toReversed()
  const first = after === undefined ? 0 : ordered.findIndex(({ id }) => id === after) + 1
  const page = ordered.slice(first, first + limit)
  return {
    object: 'list',
    data: page.map(show),
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
    has_more: first + page.length < ordered.length
  }
}
