/** `1 token`, `8,192 tokens`. */
export function plural (count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`
}
