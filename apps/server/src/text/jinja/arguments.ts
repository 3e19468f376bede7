import { TemplateFailure } from './template-failure.ts'
import { type Arguments, type Value } from './values.ts'

/**
 * The arguments of a call in the order of `names`, whether they were given by position or by name.
 * @throws TemplateFailure for one too many, one given twice, or a name that is not among them.
 */
export function bind (args: Arguments, names: readonly string[]): ReadonlyArray<Value | undefined> {
  if (args.positional.length > names.length) throw new TemplateFailure(`${args.positional.length} arguments where at most ${names.length} are possible`)
  for (const name of args.named.keys()) {
    const position = names.indexOf(name)
    if (position < 0) throw new TemplateFailure(`there is no argument ${name}`)
    if (position < args.positional.length) throw new TemplateFailure(`argument ${name} is given twice`)
  }
  return names.map((name, i) => args.positional[i] ?? args.named.get(name))
}
