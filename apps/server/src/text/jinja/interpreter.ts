import { TextSink, type Budget } from './budget.ts'
import { filterNamed } from './filters.ts'
import { loopOf } from './loop.ts'
import { attribute, item, slice } from './members.ts'
import { applyOperator, isKey } from './operators.ts'
import { integerOf, textOf } from './python-text.ts'
import { Scope } from './scope.ts'
import type { Argument, Body, CallExpression, CallStatement, Expression, ForStatement, Identifier, Parameter, SetStatement, SliceExpression, Statement } from './syntax.ts'
import { TemplateFailure } from './template-failure.ts'
import { testNamed } from './tests.ts'
import { Float, isDict, isTrue, iterate, Namespace, numberOf, Tuple, typeName, Undefined, type Arguments, type Callable, type Key, type Value } from './values.ts'

/** How a body ended: at its end, or at a `break` or `continue` of the loop around it. */
type End = 'end' | 'Break' | 'Continue'

/** Walks a template's syntax tree as jinja2 would in transformers' environment. One for each rendering. */
export class Interpreter {
  readonly #budget: Budget

  constructor (budget: Budget) {
    this.#budget = budget
  }

  /** @throws TemplateFailure when the template raises, does what Python would not, or makes more than the budget allows. */
  render (body: Body, scope: Scope): string {
    const sink = new TextSink(this.#budget)
    this.#run(body, scope, sink)
    return sink.text
  }

  #run (body: Body, scope: Scope, sink: TextSink): End {
    for (const statement of body) {
      const end = this.#execute(statement, scope, sink)
      if (end !== 'end') return end
    }
    return 'end'
  }

  #execute (statement: Statement, scope: Scope, sink: TextSink): End {
    switch (statement.type) {
      case 'Comment': return 'end'
      case 'Break': case 'Continue': return statement.type
      case 'If': return this.#run(isTrue(this.#evaluate(statement.test, scope)) ? statement.body : statement.alternate, scope, sink)
      case 'For':
        this.#loop(statement, scope, sink)
        return 'end'
      case 'Set':
        this.#assign(statement.assignee, this.#assigned(statement, scope), scope)
        return 'end'
      case 'Macro':
        scope.set(statement.name.value, this.#macro(statement.args, statement.body, scope))
        return 'end'
      case 'CallStatement':
        sink.write(this.#callWithBody(statement, scope))
        return 'end'
      case 'FilterStatement':
        sink.write(textOf(this.#filter(this.render(statement.body, new Scope(scope)), statement.filter, scope), this.#budget))
        return 'end'
      default:
        sink.write(textOf(this.#evaluate(statement, scope), this.#budget))
        return 'end'
    }
  }

  #loop ({ loopvar, iterable, body, defaultBlock }: ForStatement, scope: Scope, sink: TextSink): void {
    const test = iterable.type === 'SelectExpression' ? iterable.test : undefined
    const all = iterate(this.#evaluate(iterable.type === 'SelectExpression' ? iterable.lhs : iterable, scope), this.#budget)
    const items = all.filter(candidate => {
      if (test === undefined) return true
      const inner = new Scope(scope)
      this.#assign(loopvar, candidate, inner)
      return isTrue(this.#evaluate(test, inner))
    })
    const outer = scope.get('loop')
    for (const [i, current] of items.entries()) {
      // A scope for each round: what one sets, the next does not see.
      const inner = new Scope(scope, [['loop', loopOf(items, i, outer)]])
      this.#assign(loopvar, current, inner)
      if (this.#run(body, inner, sink) === 'Break') break
    }
    if (items.length === 0) this.#run(defaultBlock, new Scope(scope), sink)
  }

  #assigned ({ value, body }: SetStatement, scope: Scope): Value {
    return value === null ? this.render(body, new Scope(scope)) : this.#evaluate(value, scope)
  }

  #assign (target: Expression, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') scope.set(target.value, value)
    else if (target.type === 'TupleLiteral') {
      const items = iterate(value, this.#budget)
      if (items.length !== target.value.length) throw new TemplateFailure(`${items.length} values for ${target.value.length} names`)
      for (const [i, name] of target.value.entries()) this.#assign(name, items[i] ?? null, scope)
    } else if (target.type === 'MemberExpression' && !target.computed && target.property.type === 'Identifier') {
      const object = this.#evaluate(target.object, scope)
      if (!(object instanceof Namespace)) throw new TemplateFailure('attributes can only be set on namespaces')
      object.attributes.set(target.property.value, value)
    } else throw new TemplateFailure('this cannot be assigned to')
  }

  #macro (parameters: readonly Parameter[], body: Body, scope: Scope): Callable {
    return args => {
      const inner = new Scope(scope)
      const named = new Map(args.named)
      for (const [i, parameter] of parameters.entries()) {
        const name = parameter.type === 'Identifier' ? parameter.value : parameter.key.value
        const given = args.positional[i] ?? named.get(name)
        named.delete(name)
        inner.set(name, given ?? (parameter.type === 'Identifier' ? new Undefined(name) : this.#evaluate(parameter.value, inner)))
      }
      const caller = named.get('caller')
      if (caller !== undefined) inner.set('caller', caller)
      inner.set('varargs', args.positional.slice(parameters.length))
      inner.set('kwargs', new Map(named))
      return this.render(body, inner)
    }
  }

  #callWithBody ({ call, callerArgs, body }: CallStatement, scope: Scope): string {
    const callee = this.#evaluate(call.callee, scope)
    const { positional, named } = this.#arguments(call.args, scope)
    if (typeof callee !== 'function') throw new TemplateFailure(`${typeName(callee)} cannot be called`)
    const caller = this.#macro(callerArgs ?? [], body, scope)
    return textOf(callee({ positional, named: new Map([...named, ['caller', caller]]) }), this.#budget)
  }

  #evaluate (node: Expression, scope: Scope): Value {
    switch (node.type) {
      case 'IntegerLiteral': case 'StringLiteral': return node.value
      case 'FloatLiteral': return new Float(node.value)
      case 'ArrayLiteral': return node.value.map(element => this.#evaluate(element, scope))
      case 'TupleLiteral': return new Tuple(node.value.map(element => this.#evaluate(element, scope)))
      case 'ObjectLiteral': return new Map([...node.value].map(([key, value]) => [this.#key(key, scope), this.#evaluate(value, scope)] as const))
      case 'Identifier': return scope.get(node.value)
      case 'CallExpression': return this.#call(node, scope)
      case 'MemberExpression': {
        const object = this.#evaluate(node.object, scope)
        if (node.property.type === 'SliceExpression') return this.#slice(object, node.property, scope)
        if (!node.computed && node.property.type === 'Identifier') return attribute(object, node.property.value, this.#budget)
        return item(object, this.#evaluate(node.property, scope), this.#budget)
      }
      case 'UnaryExpression': return this.#unary(node.operator.value, this.#evaluate(node.argument, scope))
      case 'BinaryExpression': {
        const left = this.#evaluate(node.left, scope)
        if (node.operator.value === 'and') return isTrue(left) ? this.#evaluate(node.right, scope) : left
        if (node.operator.value === 'or') return isTrue(left) ? left : this.#evaluate(node.right, scope)
        return applyOperator(node.operator.value, left, this.#evaluate(node.right, scope), this.#budget)
      }
      case 'FilterExpression': return this.#filter(this.#evaluate(node.operand, scope), node.filter, scope)
      case 'TestExpression': return testNamed(node.test.value)(this.#evaluate(node.operand, scope), null) !== node.negate
      case 'Ternary': return this.#evaluate(isTrue(this.#evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope)
      case 'SelectExpression': return isTrue(this.#evaluate(node.test, scope)) ? this.#evaluate(node.lhs, scope) : new Undefined('an if without else')
      case 'SliceExpression': throw new TemplateFailure('a slice of nothing')
      default: throw new TemplateFailure(`${(node satisfies never as Statement).type} is not supported`)
    }
  }

  #key (node: Expression, scope: Scope): Key {
    const key = this.#evaluate(node, scope)
    if (!isKey(key)) throw new TemplateFailure(`${typeName(key)} cannot be a key`)
    return key
  }

  #slice (object: Value, { start, stop, step }: SliceExpression, scope: Scope): Value {
    const bound = (node: Expression | undefined) => {
      const value = node === undefined ? null : this.#evaluate(node, scope)
      return value === null ? undefined : integerOf(value, 'a slice\'s bound')
    }
    return slice(object, [bound(start), bound(stop), bound(step)], this.#budget)
  }

  #unary (operator: string, value: Value): Value {
    if (operator === 'not') return !isTrue(value)
    const number = numberOf(value)
    if (number === undefined) throw new TemplateFailure(`${typeName(value)} has no sign`)
    const signed = operator === '-' ? -number : number
    return value instanceof Float ? new Float(signed) : signed + 0
  }

  #call (node: CallExpression, scope: Scope): Value {
    const callee = this.#evaluate(node.callee, scope)
    if (typeof callee !== 'function') throw new TemplateFailure(`${typeName(callee)} cannot be called`)
    return callee(this.#arguments(node.args, scope))
  }

  #filter (value: Value, filter: Identifier | CallExpression, scope: Scope): Value {
    const name = filter.type === 'Identifier' ? filter : filter.callee
    if (name.type !== 'Identifier') throw new TemplateFailure('a filter needs a name')
    return filterNamed(name.value)(value, this.#arguments(filter.type === 'Identifier' ? [] : filter.args, scope), this.#budget)
  }

  #arguments (nodes: readonly Argument[], scope: Scope): Arguments {
    const positional: Value[] = []
    const named = new Map<string, Value>()
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, this.#evaluate(node.value, scope))
      else if (node.type === 'SpreadExpression') for (const value of iterate(this.#evaluate(node.argument, scope), this.#budget)) positional.push(value)
      else if (node.type === 'KeywordSpreadExpression') {
        const values = this.#evaluate(node.argument, scope)
        if (!isDict(values)) throw new TemplateFailure(`${typeName(values)} has no named arguments`)
        for (const [key, value] of values) named.set(textOf(key, this.#budget), value)
      } else positional.push(this.#evaluate(node, scope))
    }
    return { positional, named }
  }
}
